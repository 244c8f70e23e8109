-- The bigint in the eight bytes from position `at` (0 is the first byte), big-endian.
CREATE OR REPLACE FUNCTION bigint_at(bytes bytea, at int) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ('x' || encode(substring(bytes FROM at + 1 FOR 8), 'hex'))::bit(64)::bigint
$$;
