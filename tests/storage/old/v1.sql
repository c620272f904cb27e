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
INSERT INTO "study_user_attributes" VALUES(1,1,'spec_hash','"4a05abd65423320a"');
INSERT INTO "study_user_attributes" VALUES(2,1,'spec','{"objective": "simplenet", "dataset": "digits", "train_size": null, "batch_size": 64, "epochs": 2, "weight_decay": [1e-05, 0.01], "lr": [0.001, 1.0], "sampler": "tpe", "pruner": "median", "seed": 0, "direction": "maximize", "grid": null}');
INSERT INTO "study_user_attributes" VALUES(3,1,'test','{"trial": 0, "accuracy": 0.7128463476070529}');
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
INSERT INTO "trial_intermediate_values" VALUES(1,1,1,0.56,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,1,2,6.76666666666666638541e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,2,1,9.66666666666666646312e-02,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,2,2,9.66666666666666646312e-02,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(5,3,1,0.22,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(6,3,2,4.56666666666666665186e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(7,4,1,4.76666666666666682949e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(8,4,2,0.64,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(9,5,1,1.33333333333333331482e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(10,5,2,0.18,'FINITE');
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
INSERT INTO "trial_user_attributes" VALUES(1,1,'worker','"host:8939"');
INSERT INTO "trial_user_attributes" VALUES(2,1,'first_pass','0');
INSERT INTO "trial_user_attributes" VALUES(3,1,'training_loss','[2.2375192642211914, 2.079646110534668]');
INSERT INTO "trial_user_attributes" VALUES(4,2,'worker','"host:8939"');
INSERT INTO "trial_user_attributes" VALUES(5,2,'first_pass','2');
INSERT INTO "trial_user_attributes" VALUES(6,2,'training_loss','[2.32367205619812, 2.321746349334717]');
INSERT INTO "trial_user_attributes" VALUES(7,3,'worker','"host:8939"');
INSERT INTO "trial_user_attributes" VALUES(8,3,'first_pass','4');
INSERT INTO "trial_user_attributes" VALUES(9,3,'training_loss','[2.292233467102051, 2.240968704223633]');
INSERT INTO "trial_user_attributes" VALUES(10,4,'worker','"host:8939"');
INSERT INTO "trial_user_attributes" VALUES(11,4,'first_pass','6');
INSERT INTO "trial_user_attributes" VALUES(12,4,'training_loss','[2.1784348487854004, 1.917926549911499]');
INSERT INTO "trial_user_attributes" VALUES(13,5,'worker','"host:8939"');
INSERT INTO "trial_user_attributes" VALUES(14,5,'first_pass','8');
INSERT INTO "trial_user_attributes" VALUES(15,5,'training_loss','[2.3054909706115723, 2.2738990783691406]');
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
INSERT INTO "trial_values" VALUES(1,1,0,6.76666666666666638541e-01,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,9.66666666666666646312e-02,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,4.56666666666666665186e-01,'FINITE');
INSERT INTO "trial_values" VALUES(4,4,0,0.64,'FINITE');
INSERT INTO "trial_values" VALUES(5,5,0,0.18,'FINITE');
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
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2024-12-28 00:44:07.378634','2024-12-28 00:44:07.478561');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2024-12-28 00:44:07.496294','2024-12-28 00:44:07.567973');
INSERT INTO "trials" VALUES(3,2,1,'COMPLETE','2024-12-28 00:44:07.582622','2024-12-28 00:44:07.639498');
INSERT INTO "trials" VALUES(4,3,1,'COMPLETE','2024-12-28 00:44:07.652918','2024-12-28 00:44:07.714693');
INSERT INTO "trials" VALUES(5,4,1,'COMPLETE','2024-12-28 00:44:07.729746','2024-12-28 00:44:07.787886');
CREATE TABLE tuner_budgets (
	study_id INTEGER NOT NULL, 
	n_trials INTEGER NOT NULL, 
	n_claimed INTEGER NOT NULL, 
	deadline DOUBLE, 
	PRIMARY KEY (study_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id) ON DELETE CASCADE
);
INSERT INTO "tuner_budgets" VALUES(1,6,6,NULL);
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
INSERT INTO "tuner_leases" VALUES(1,1,2,NULL,1.73539471103699874881e+09);
CREATE TABLE tuner_workers (
	worker_id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	host VARCHAR(255) NOT NULL, 
	pid INTEGER NOT NULL, 
	started_at DOUBLE NOT NULL, 
	seen_at DOUBLE NOT NULL, 
	left_at DOUBLE, 
	PRIMARY KEY (worker_id), 
	FOREIGN KEY(study_id) REFERENCES tuner_budgets (study_id) ON DELETE CASCADE
);
INSERT INTO "tuner_workers" VALUES(1,1,'host',8939,1.7353946473569943905e+09,1.7353946473569943905e+09,1.73539464780100727079e+09);
INSERT INTO "tuner_workers" VALUES(2,1,'host',4242,1.73539465103301548957e+09,1.73539465103301548957e+09,NULL);
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
COMMIT;
