-- The double precision (IEEE 754, binary64) in eight bytes from `at`: sign, 11 bits of exponent, 52 of mantissa. Powers of
-- two are exact, so the result is, too. Only the first two bytes are read more than once: PostgreSQL inlines this function
-- because its arguments are cheap, which saves a microsecond per value.
CREATE OR REPLACE FUNCTION double_at(bytes bytea, at int) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN get_byte(bytes, at) >= 128 THEN -1::double precision ELSE 1::double precision END
         * CASE ((get_byte(bytes, at) & 127) << 4) | (get_byte(bytes, at + 1) >> 4)
               WHEN 2047 THEN CASE WHEN bigint_at(bytes, at) & 4503599627370495 = 0 THEN 'Infinity'::double precision
                                   ELSE 'NaN'::double precision END
               WHEN 0 THEN (bigint_at(bytes, at) & 4503599627370495) * '4.9406564584124654e-324'::double precision
               ELSE (1 + (bigint_at(bytes, at) & 4503599627370495) / 4503599627370496::double precision)
                  * power(2::double precision,
                          (((get_byte(bytes, at) & 127) << 4) | (get_byte(bytes, at + 1) >> 4)) - 1023)
           END
$$;
