"""The registry: finds the adapters that are installed, and says what is wrong with those that it cannot use."""

import subprocess
import sys

import colander
import pytest

from productagg.sources import registry
from productagg.sources.json_api.adapter import JsonApi
from tests.unit.sources.installed_packages import install

USABLE = """
import colander

class Adapter:
    title = locator = "x"
    whole_document = False
    configuration_schema = colander.MappingSchema
    def check_locator(self, locator): return locator
    def fetch(self, request): return iter(())

class Unfinished:
    title = "x"
    def fetch(self, request): return iter(())

class Broken:
    def __init__(self): raise RuntimeError("no database")
"""


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Call it with a name, entry points and a source to install a package."""
    monkeypatch.syspath_prepend(tmp_path)
    names = []

    def make(name, *entry_points, module=USABLE):
        names.append(name)
        install(tmp_path, name, entry_points, module)
        registry.installed.cache_clear()

    yield make
    registry.installed.cache_clear()
    for name in names:
        sys.modules.pop(name, None)


class TestLoading:
    @pytest.mark.parametrize(
        ("kind", "whole_document"), [("json_api", False), ("json_list", True), ("jsonld", False), ("feed", True)]
    )
    def test_a_kind_that_is_shipped_is_there(self, kind, whole_document):
        adapter = registry.load(kind)

        assert adapter.whole_document is whole_document
        assert adapter.title

    def test_a_kind_of_another_package_is_there(self, packages):
        packages("other_shop", "other = other_shop:Adapter")

        assert registry.load("other").title == "x"

    def test_an_unknown_kind_is_told_which_there_are(self):
        with pytest.raises(
            registry.AdapterError, match=r"no adapter of the kind 'jsonapi'.*feed, json_api, json_list, jsonld"
        ):
            registry.load("jsonapi")

    def test_a_kind_that_two_packages_define_is_not_chosen_by_chance(self, packages):
        packages("first_shop", "other = first_shop:Adapter")
        packages("second_shop", "other = second_shop:Adapter")

        with pytest.raises(registry.AdapterError, match="first_shop and second_shop"):
            registry.load("other")

    @pytest.mark.parametrize(
        ("module", "reason"),
        [
            ("import a_module_that_is_not_there", "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"),
            ("1 / 0", "ZeroDivisionError"),
            ("def", "SyntaxError"),
            ("", "AttributeError"),
        ],
    )
    def test_one_that_cannot_be_imported_says_why_and_of_which_package_it_is(self, packages, module, reason):
        packages("other_shop", "other = other_shop:Adapter", module=module)

        with pytest.raises(registry.AdapterError) as error:
            registry.load("other")
        assert reason in str(error.value)
        assert "other_shop:Adapter of other_shop" in str(error.value)

    def test_one_that_cannot_be_made_says_why(self, packages):
        packages("other_shop", "other = other_shop:Broken")

        with pytest.raises(registry.AdapterError, match="RuntimeError: no database"):
            registry.load("other")

    def test_one_that_is_not_finished_says_what_it_lacks(self, packages):
        packages("other_shop", "other = other_shop:Unfinished")

        with pytest.raises(
            registry.AdapterError, match="lacks whole_document, configuration_schema, locator, check_loc"
        ):
            registry.load("other")

    def test_another_kinds_fault_does_not_matter(self, packages):
        packages("other_shop", "broken = other_shop:Adapter", module="1 / 0")

        assert registry.load("json_api")

    def test_nothing_is_imported_before_it_is_asked_for(self):
        code = (
            "import sys; from productagg.sources import registry\n"
            "try: registry.load('unknown')\n"
            "except registry.AdapterError: print({'lxml', 'jmespath'} & set(sys.modules))"
        )

        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

        assert run.stdout == "set()\n"


class _Part(colander.MappingSchema):  # type: ignore[misc]
    size = colander.SchemaNode(colander.Integer())


class _Schema(colander.MappingSchema):  # type: ignore[misc]
    url = colander.SchemaNode(colander.String())
    part = _Part(missing=None)
    free = colander.SchemaNode(colander.Mapping(unknown="preserve"), missing=None)


class _Adapter(JsonApi):
    configuration_schema = _Schema


class TestValidation:
    def test_a_valid_configuration_is_deserialized(self):
        values = registry.validate(_Adapter(), {"url": "x", "part": {"size": "3"}, "free": {"a": 1}})

        assert values == {"url": "x", "part": {"size": 3}, "free": {"a": 1}}

    def test_all_faults_are_told_by_where_they_are(self):
        with pytest.raises(registry.InvalidConfiguration) as error:
            registry.validate(_Adapter(), {"part": {"size": "x", "sise": 1}, "ulr": "x"})

        assert error.value.faults == {
            "part.sise": "is not known",
            "ulr": "is not known",
            "url": "Required",
            "part.size": '"x" is not a number',
        }
        assert "ulr: is not known" in str(error.value)

    def test_unknown_members_alone_are_faults(self):
        with pytest.raises(registry.InvalidConfiguration, match=r"^ulr: is not known$"):
            registry.validate(_Adapter(), {"url": "x", "ulr": "x"})

    @pytest.mark.parametrize("configuration", [None, [], "url", 3])
    def test_what_is_no_object_is_refused(self, configuration):
        with pytest.raises(registry.InvalidConfiguration, match=r"^configuration: must be an object$"):
            registry.validate(_Adapter(), configuration)
