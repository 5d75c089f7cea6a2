-- posthorn on Prosody: append these lines to prosody.cfg.lua, or put this file
-- into /etc/prosody/conf.d/, choose a secret of your own (openssl rand -hex 24)
-- and restart Prosody. posthorn.yaml needs the same domain and secret.

Component "post.example.com"
	component_secret = "change-me"
	-- posthorn writes the address of the user whose password it has checked
	-- into the messages it sends. Prosody must not refuse it:
	validate_from_addresses = false
	-- A connection that died without saying so must not lock out the next one:
	component_conflict_resolve = "kick_old"

-- Safer, with mod_privilege (XEP-0356, in the package prosody-modules): Prosody
-- goes on checking the addresses, and gives the sender's other clients a copy,
-- but it no longer tells posthorn when a recipient does not exist. For this,
-- delete the line validate_from_addresses above and take the dashes away below.
-- Where the host has settings already, add the last two lines to those, and
-- "privilege" to the modules that it lists.
--	modules_enabled = { "privilege" }
--
--VirtualHost "example.com"
--	modules_enabled = { "privilege" }
--	privileged_entities = { ["post.example.com"] = { message = "outgoing" } }

-- Attachments go to the server's own upload service. It takes files from every domain
-- of this server, and so from posthorn, unless http_file_share_access is set: then add
-- "post.example.com" to that list. Where there is no such service yet, take the
-- dashes away below. It needs a certificate for its name, and posthorn has to reach it
-- by that name on port 5281, as clients do (docs/attachments.md).
--Component "upload.example.com" "http_file_share"
