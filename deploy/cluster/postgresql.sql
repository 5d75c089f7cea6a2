-- Once, as the user postgres: psql -f postgresql.sql. posthorn makes its tables itself,
-- in a database of its own, to which nobody else connects: they would hear what posthorns
-- tell each other.
CREATE ROLE posthorn LOGIN PASSWORD 'change-me';
CREATE DATABASE posthorn OWNER posthorn ENCODING 'UTF8' TEMPLATE template0;
REVOKE CONNECT ON DATABASE posthorn FROM PUBLIC;
