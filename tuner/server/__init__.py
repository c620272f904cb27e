"""The service: dashboard, login and API in one ASGI process; `app.create_app` assembles it."""
