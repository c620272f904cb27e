BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'digits');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_system_attributes" VALUES(1,1,'study:metric_names','["validation accuracy"]');
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'spec_hash','"3805b29494f6b0d8"');
INSERT INTO "study_user_attributes" VALUES(2,1,'spec','{"objective": "simplenet", "dataset": "digits", "train_size": 128, "batch_size": 64, "epochs": 3, "weight_decay": [1e-05, 0.01], "lr": [0.001, 1.0], "sampler": "tpe", "pruner": "median", "seed": 0, "direction": "maximize", "grid": null}');
INSERT INTO "study_user_attributes" VALUES(3,1,'test','{"trial": 3, "accuracy": 0.3047858942065491}');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,1,1.36666666666666658525e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,1,2,1.43333333333333340364e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,1,3,2.06666666666666665186e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,2,1,8.66666666666666696272e-02,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(5,2,2,9.33333333333333375891e-02,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(6,2,3,9.33333333333333375891e-02,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(7,3,1,1.13333333333333327597e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(8,3,2,0.13,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(9,3,3,0.13,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(10,4,1,2.36666666666666664076e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(11,4,2,0.28,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(12,4,3,3.06666666666666642981e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(13,5,1,0.11,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(14,5,2,0.11,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(15,5,3,1.13333333333333327597e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(16,6,1,1.56666666666666676288e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(17,6,2,0.16,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(18,6,3,0.16,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'weight_decay',3.71234940035514453162e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(2,1,'lr',7.50157501659984848885e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.001, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(3,2,'weight_decay',2.83660917783826920304e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(4,2,'lr',1.05982027813069853983e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.001, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(5,3,'weight_decay',3.31191615565055858514e-05,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(6,3,'lr',3.31617888220722620284e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.001, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(7,4,'weight_decay',2.13501938301660079341e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(8,4,'lr',1.1517517790964622304e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.001, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(9,5,'weight_decay',0.00010864696703331,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(10,5,'lr',1.84509657401369306373e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.001, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(11,6,'weight_decay',1.92126946442193920474e-05,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 1e-05, "high": 0.01, "log": true}}');
INSERT INTO "trial_params" VALUES(12,6,'lr',1.2490499780755703104e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.001, "high": 1.0, "log": true}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'worker','"host:18630"');
INSERT INTO "trial_user_attributes" VALUES(2,1,'first_pass','0');
INSERT INTO "trial_user_attributes" VALUES(3,1,'training_loss','[2.315223217010498, 2.2878401279449463, 2.265058994293213]');
INSERT INTO "trial_user_attributes" VALUES(4,2,'worker','"host:18630"');
INSERT INTO "trial_user_attributes" VALUES(5,2,'first_pass','0');
INSERT INTO "trial_user_attributes" VALUES(6,2,'training_loss','[2.334181308746338, 2.3337807655334473, 2.333414077758789]');
INSERT INTO "trial_user_attributes" VALUES(7,3,'worker','"host:18630"');
INSERT INTO "trial_user_attributes" VALUES(8,3,'first_pass','0');
INSERT INTO "trial_user_attributes" VALUES(9,3,'training_loss','[2.3140342235565186, 2.3044397830963135, 2.2960896492004395]');
INSERT INTO "trial_user_attributes" VALUES(10,4,'worker','"host:18630"');
INSERT INTO "trial_user_attributes" VALUES(11,4,'first_pass','0');
INSERT INTO "trial_user_attributes" VALUES(12,4,'training_loss','[2.282644271850586, 2.236654281616211, 2.199800729751587]');
INSERT INTO "trial_user_attributes" VALUES(13,5,'worker','"host:18630"');
INSERT INTO "trial_user_attributes" VALUES(14,5,'first_pass','3');
INSERT INTO "trial_user_attributes" VALUES(15,5,'training_loss','[2.3303651809692383, 2.3243765830993652, 2.318668842315674]');
INSERT INTO "trial_user_attributes" VALUES(16,6,'worker','"host:18630"');
INSERT INTO "trial_user_attributes" VALUES(17,6,'first_pass','3');
INSERT INTO "trial_user_attributes" VALUES(18,6,'training_loss','[2.302267074584961, 2.3019044399261475, 2.3015503883361816]');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,2.06666666666666665186e-01,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,9.33333333333333375891e-02,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,0.13,'FINITE');
INSERT INTO "trial_values" VALUES(4,4,0,3.06666666666666642981e-01,'FINITE');
INSERT INTO "trial_values" VALUES(5,5,0,1.13333333333333327597e-01,'FINITE');
INSERT INTO "trial_values" VALUES(6,6,0,0.16,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-23 04:01:45.224074','2026-11-23 04:01:45.254260');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2026-11-23 04:01:45.225175','2026-11-23 04:01:45.254552');
INSERT INTO "trials" VALUES(3,2,1,'COMPLETE','2026-11-23 04:01:45.225311','2026-11-23 04:01:45.254706');
INSERT INTO "trials" VALUES(4,3,1,'COMPLETE','2026-11-23 04:01:45.225405','2026-11-23 04:01:45.254852');
INSERT INTO "trials" VALUES(5,4,1,'COMPLETE','2026-11-23 04:01:45.257589','2026-11-23 04:01:45.271737');
INSERT INTO "trials" VALUES(6,5,1,'COMPLETE','2026-11-23 04:01:45.257785','2026-11-23 04:01:45.271996');
CREATE TABLE tuner_budgets (
	study_id INTEGER NOT NULL, 
	n_trials INTEGER NOT NULL, 
	n_claimed INTEGER NOT NULL, 
	deadline DOUBLE, state VARCHAR(16) DEFAULT 'open' NOT NULL, max_retries INTEGER DEFAULT '2' NOT NULL, 
	PRIMARY KEY (study_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id) ON DELETE CASCADE
);
INSERT INTO "tuner_budgets" VALUES(1,6,6,NULL,'open',2);
CREATE TABLE tuner_leases (
	lease_id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	worker_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	ends_at DOUBLE NOT NULL, 
	PRIMARY KEY (lease_id), 
	FOREIGN KEY(study_id) REFERENCES tuner_budgets (study_id) ON DELETE CASCADE, 
	FOREIGN KEY(worker_id) REFERENCES tuner_workers (worker_id) ON DELETE CASCADE
);
CREATE TABLE tuner_schema_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT tuner_schema_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "tuner_schema_version" VALUES('2');
CREATE TABLE tuner_workers (
	worker_id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	host VARCHAR(255) NOT NULL, 
	pid INTEGER NOT NULL, 
	started_at DOUBLE NOT NULL, 
	seen_at DOUBLE NOT NULL, 
	left_at DOUBLE, lease_seconds DOUBLE DEFAULT '60' NOT NULL, n_lanes INTEGER DEFAULT '1' NOT NULL, 
	PRIMARY KEY (worker_id), 
	FOREIGN KEY(study_id) REFERENCES tuner_budgets (study_id) ON DELETE CASCADE
);
INSERT INTO "tuner_workers" VALUES(1,1,'host',18630,1.79540650521200895314e+09,1.79540650521200895314e+09,1.79540650528398609158e+09,60.0,4);
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
CREATE INDEX ix_tuner_workers_study_id ON tuner_workers (study_id);
CREATE INDEX ix_tuner_leases_study_id ON tuner_leases (study_id);
CREATE INDEX ix_tuner_leases_worker_id ON tuner_leases (worker_id);
CREATE UNIQUE INDEX ix_tuner_leases_trial_id ON tuner_leases (trial_id);
CREATE VIEW tuner_trials AS
SELECT
    s.study_name AS study,
    t.number AS number,
    CAST(t.state AS TEXT) AS state,
    w.param_value AS weight_decay,
    l.param_value AS lr,
    CASE v.value_type
        WHEN 'INF_POS' THEN 9e999 WHEN 'INF_NEG' THEN -9e999 ELSE v.value END AS value,
    (SELECT COUNT(*) FROM trial_intermediate_values i WHERE i.trial_id = t.trial_id) AS epochs,
    t.datetime_start AS started,
    t.datetime_complete AS finished,
    TRIM(a.value_json, '"') AS worker
FROM trials t
JOIN studies s ON s.study_id = t.study_id
LEFT JOIN trial_params w ON w.trial_id = t.trial_id
    AND w.param_name = 'weight_decay' AND w.distribution_json NOT LIKE '%Categorical%'
LEFT JOIN trial_params l ON l.trial_id = t.trial_id
    AND l.param_name = 'lr' AND l.distribution_json NOT LIKE '%Categorical%'
LEFT JOIN trial_values v ON v.trial_id = t.trial_id AND v.objective = 0
LEFT JOIN trial_user_attributes a ON a.trial_id = t.trial_id AND a.key = 'worker';
CREATE VIEW tuner_best AS
SELECT study, weight_decay, weight_decay / 2 AS l2_penalty, lr, value, trial, direction
FROM (
    SELECT r.*, ROW_NUMBER() OVER (
        PARTITION BY study
        ORDER BY CASE direction WHEN 'maximize' THEN -value ELSE value END, epochs, trial
    ) AS place
    FROM (
        SELECT
            s.study_name AS study,
            t.number AS trial,
            w.param_value AS weight_decay,
            l.param_value AS lr,
            CASE v.value_type
        WHEN 'INF_POS' THEN 9e999 WHEN 'INF_NEG' THEN -9e999 ELSE v.value END AS value,
            (SELECT COUNT(*) FROM trial_intermediate_values i WHERE i.trial_id = t.trial_id) AS epochs,
            LOWER(CAST(d.direction AS TEXT)) AS direction
        FROM trials t
        JOIN studies s ON s.study_id = t.study_id
        JOIN study_directions d ON d.study_id = t.study_id AND d.objective = 0
        JOIN trial_values v ON v.trial_id = t.trial_id AND v.objective = 0
        LEFT JOIN trial_params w ON w.trial_id = t.trial_id
    AND w.param_name = 'weight_decay' AND w.distribution_json NOT LIKE '%Categorical%'
        LEFT JOIN trial_params l ON l.trial_id = t.trial_id
    AND l.param_name = 'lr' AND l.distribution_json NOT LIKE '%Categorical%'
        WHERE t.state = 'COMPLETE' AND NOT EXISTS (
            SELECT 1 FROM study_directions o WHERE o.study_id = t.study_id AND o.objective > 0)
    ) r
) ranked
WHERE place = 1;
COMMIT;
