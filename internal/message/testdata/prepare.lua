-- Reads addresses, one a line in hexadecimal, and writes each as Prosody's own
-- code prepares it: the address in hexadecimal, or an empty line for one it refuses.
package.path = "/usr/lib/prosody/?.lua;" .. package.path
package.cpath = "/usr/lib/prosody/?.so;" .. package.cpath
local prep = require "util.jid".prep
for line in io.lines() do
	local jid = line:gsub("..", function (digits) return string.char(tonumber(digits, 16)) end)
	local prepared = prep(jid) or ""
	io.write((prepared:gsub(".", function (c) return ("%02x"):format(c:byte()) end)), "\n")
end
