-- Prosody for compose.yaml.

modules_enabled = { "roster", "saslauth", "tls", "disco", "carbons", "ping", "posix" }
authentication = "internal_hashed"
c2s_require_encryption = true
log = { info = "*console" }

-- posthorn is in another container; compose.yaml does not publish this port.
component_interfaces = { "*" }

VirtualHost "example.com"
	ssl = { certificate = "/etc/prosody/certs/example.com.crt", key = "/etc/prosody/certs/example.com.key" }

Component "post.example.com"
	component_secret = ENV_COMPONENT_SECRET
	validate_from_addresses = false
	component_conflict_resolve = "kick_old"
