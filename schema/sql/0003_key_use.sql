-- Keys of the checkout that rest for long expire. Those from before nobody watched them count as used now.
UPDATE keys
SET body = json_set(body, '$.last_use', json_object('at', unixepoch() * 1000, 'origin', NULL))
WHERE json_extract(body, '$.checkout') = 1;
