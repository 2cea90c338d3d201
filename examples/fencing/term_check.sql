-- A table that only the newest hot node may change. Who writes says its term once a connection,
-- best with the variable that edge gives to every process:
--
--     PGOPTIONS="-c edge.term=$EDGE_TERM" program
--
-- A lower term than the highest one seen is refused with SQLSTATE EDGE1. A writer with a higher
-- term waits until transactions with a lower one have ended; let the server end those of a machine
-- that died in the middle: idle_in_transaction_session_timeout and tcp_user_timeout.

CREATE TABLE edge_term (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    highest bigint NOT NULL
);
INSERT INTO edge_term (highest) VALUES (0);

CREATE FUNCTION edge_check_term() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told text := current_setting('edge.term', true);
    term bigint;
    seen bigint;
BEGIN
    IF told IS NULL OR told !~ '^[0-9]{1,16}$' THEN
        RAISE EXCEPTION 'who writes to % must tell its term: SET edge.term = ...', TG_TABLE_NAME
            USING ERRCODE = 'EDGE1';
    END IF;
    term := told::bigint;
    -- Writers of one term share the row; who raises it has it alone, also until its commit.
    SELECT highest INTO seen FROM edge_term;
    IF term > seen THEN
        UPDATE edge_term SET highest = term WHERE highest < term;
    END IF;
    SELECT highest INTO seen FROM edge_term FOR SHARE;
    IF term < seen THEN
        RAISE EXCEPTION 'term % is over, % was seen', term, seen USING ERRCODE = 'EDGE1';
    END IF;
    RETURN NULL;  -- a trigger for whole statements has no row to return
END
$$;

-- The same trigger for every table that only the hot node may change.
CREATE TABLE output (name text PRIMARY KEY, value double precision NOT NULL);

CREATE TRIGGER only_the_newest_term
    BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON output
    FOR EACH STATEMENT EXECUTE FUNCTION edge_check_term();
