"""What migrations install of the files with functions and views."""

from __future__ import annotations

import pytest

from runstream_service.database.definitions import Definition, parse_definitions, with_definitions

ONE = "CREATE OR REPLACE FUNCTION one() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;\n"
TWO = ONE.replace("SELECT 1", "SELECT 2")
POINTS = "CREATE OR REPLACE VIEW points AS SELECT 1 AS x;\n"


def definitions(**functions: str) -> dict[str, Definition]:
    return parse_definitions({f"functions/{name}.sql": text for name, text in functions.items()})


def install(text: str, name: str = "one") -> str:
    return f"-- install: {name} {definitions(**{name: text})[name].fingerprint}\n"


def test_a_definition_is_installed_where_the_migration_names_it() -> None:
    (statements,) = with_definitions([f"SELECT 1;\n{install(ONE)}SELECT 2;\n"], definitions(one=ONE))
    assert statements == f"SELECT 1;\n{install(ONE)}{ONE}\nSELECT 2;\n"


def test_only_the_last_migration_that_names_it_installs_it() -> None:
    first, second = install(ONE), install(TWO)
    assert with_definitions([first, second], definitions(one=TWO)) == [first, f"{second}{TWO}\n"]
    assert with_definitions([second + second], definitions(one=TWO)) == [f"{second}{second}{TWO}\n"]


def test_a_changed_text_needs_a_migration() -> None:
    why = "functions/one.sql is not the text that the migrations install; .*"
    with pytest.raises(ValueError, match=f"{why}\n{install(TWO)[:-1]}"):
        with_definitions([install(ONE)], definitions(one=TWO))
    with pytest.raises(ValueError, match=f"\n{install(ONE)[:-1]}"):
        with_definitions(["SELECT 1;\n"], definitions(one=ONE))
    with pytest.raises(ValueError, match=f"\n{install(ONE)[:-1]}"):
        with_definitions(["-- install: one\n"], definitions(one=ONE))


def test_a_changed_comment_above_it_needs_none() -> None:
    with_definitions([install(ONE)], definitions(one=f"-- Why.\n\n{ONE}"))


def test_a_migration_with_a_text_of_its_own_has_the_current_one_installed_after_it() -> None:
    own = ONE.replace("OR REPLACE ", "")
    trigger = f"{own}CREATE TRIGGER ...;\n"
    assert with_definitions([trigger, install(TWO)], definitions(one=TWO))[0] == trigger
    for migrations in ([install(TWO), trigger], [install(TWO) + trigger], [install(TWO), "DROP FUNCTION one();\n"]):
        with pytest.raises(ValueError, match="is not the text that the migrations install"):
            with_definitions(migrations, definitions(one=TWO))


def test_what_has_no_file_any_more_is_not_installed_and_has_to_be_dropped() -> None:
    dropped = [install(ONE), "DROP FUNCTION IF EXISTS one();\n"]
    assert with_definitions(dropped, {}) == dropped
    for migrations in ([install(ONE)], [ONE], [*dropped, install(ONE)]):
        with pytest.raises(ValueError, match="no file with the text of one, and no later migration drops it"):
            with_definitions(migrations, {})


def test_one_that_is_dropped_and_made_again_in_one_migration() -> None:
    migration = f"DROP VIEW one;\n{install(ONE)}"
    assert with_definitions([migration], definitions(one=ONE)) == [f"{migration}{ONE}\n"]


def test_all_functions_of_one_name_are_in_one_file() -> None:
    both = f"-- Why.\n{ONE}\n-- Why else.\n{ONE.replace('one()', 'one(x int)')}"
    assert definitions(one=both)["one"].statements == both.removeprefix("-- Why.\n")


@pytest.mark.parametrize(
    "files",
    [
        {"functions/two.sql": ONE},
        {"views/one.sql": ONE},
        {"functions/one.sql": ONE.replace("OR REPLACE ", "")},
        {"functions/one.sql": ONE + TWO.replace("one", "two")},
        {"functions/one.sql": f"SET x = 1;\n{ONE}"},
        {"functions/one.sql": "-- Nothing.\n"},
    ],
)
def test_files_with_something_else_are_refused(files: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"must be a comment and CREATE OR REPLACE (FUNCTION|VIEW) (one|two)"):
        parse_definitions(files)


def test_a_function_and_a_view_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"functions/points.sql and views/points.sql have the same name"):
        parse_definitions({"views/points.sql": POINTS, "functions/points.sql": ONE.replace("one", "points")})
