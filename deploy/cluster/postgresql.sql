-- Once, as the user postgres: psql -f postgresql.sql. posthorn makes its tables itself,
-- in a database of its own.
CREATE ROLE posthorn LOGIN PASSWORD 'change-me';
CREATE DATABASE posthorn OWNER posthorn ENCODING 'UTF8' TEMPLATE template0;
