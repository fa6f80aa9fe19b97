-- A request is found, and kept from being charged twice, by its row in partner_usage: its events always name the
-- same partner. This index was one of three trees that each settlement went into. An older program would look for
-- requests where no index is any more, and this number keeps it off.
DROP INDEX IF EXISTS events_by_request;
