-- /etc/prosody/conf.d/posthorn.cfg.lua: as for one posthorn, on an address that both
-- reach, beside those that other components use. What passes there is not encrypted.
component_interfaces = { "127.0.0.1", "10.0.0.4" }

Component "post.example.com"
	component_secret = "change-me"
	-- posthorn writes the address of the user whose password it has checked:
	validate_from_addresses = false
	-- The connection of a posthorn that has died must give way to the other's:
	component_conflict_resolve = "kick_old"
