-- A role for workers, which may run code of others: it neither reads nor writes who may use the
-- service. As the owner of the tables, after `tuner storage upgrade`, and after each later one:
--   psql tuner --variable=password="$(openssl rand -hex 24)" --file=deploy/postgres-worker-role.sql
-- Workers then have TUNER_STORAGE=postgresql://tuner_worker@HOST/tuner and that password.
SELECT 'CREATE ROLE tuner_worker NOSUPERUSER NOCREATEDB NOCREATEROLE'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tuner_worker') \gexec
ALTER ROLE tuner_worker LOGIN PASSWORD :'password';
GRANT USAGE ON SCHEMA public TO tuner_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO tuner_worker;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO tuner_worker;
REVOKE ALL ON tuner_users, tuner_tokens, tuner_sessions, tuner_former_users, tuner_logins,
    tuner_audit FROM tuner_worker;
