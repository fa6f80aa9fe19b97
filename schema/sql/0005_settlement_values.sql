-- From here on a settlement's body is an array of its values (actors/src/store/sqlite/body.rs). Rows from before
-- stay as they are and are read; an older program reads no new ones, and this number tells it so.
SELECT 1;
