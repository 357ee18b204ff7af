"""Packages that are installed for a test: a module and its entry points, as pip leaves them behind."""


def install(directory, name, entry_points, module=""):
    """A package `name` whose module has this source, and whose entry points for adapters are these lines."""
    (directory / f"{name}.py").write_text(module, "utf-8")
    information = directory / f"{name}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", "utf-8")
    lines = "\n".join(["[productagg.sources]", *entry_points])
    (information / "entry_points.txt").write_text(f"{lines}\n", "utf-8")
