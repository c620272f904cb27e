"""The answer for other projects: its document, forms, versions, and how to load it."""
