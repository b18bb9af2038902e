"""``etlctl transform``: cases that users write for their rules, and a look at real samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etlctl.options import AsJson, PlainConfigFile, group

if TYPE_CHECKING:
    from common.config import Settings

Files = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="FILE",
        help="Files with cases, or folders of them; the folder transform beside the configuration"
        " if none is given.",
        show_default=False,
    ),
]

transform_app = group("Try the transform's rules on cases in files, or on samples.")


@transform_app.command("test")
def run_cases(files: Files = None, config: PlainConfigFile = None, as_json: AsJson = False) -> None:
    """Run cases: samples go in, the lines they name must come out.

    And so must the drops. Nothing but the configuration and the files is read. Ends with 1 when a
    case fails, with 2 when a file is no list of cases.
    """
    from common.config import DEFAULT_PATH, load_settings
    from etlctl.transform.cases import failures, read_cases

    file = config or Path(DEFAULT_PATH)
    settings = load_settings(file, secrets=())
    cases = [
        case
        for path in _files(files, file.parent / "transform")
        for case in read_cases(path, settings)
    ]
    results = [(case.where, failures(case, settings)) for case in cases]
    failed = sum(bool(said) for _, said in results)
    if as_json:
        from etlctl.output import print_json

        said_of = [{"case": where, "failures": said} for where, said in results]
        print_json({"passed": len(cases) - failed, "failed": failed, "cases": said_of})
    else:
        for where, said in results:
            typer.echo(f"{'FAILED' if said else 'ok'}  {where}")
            for sentence in said:
                typer.echo(f"        {sentence}")
        typer.echo(f"{len(cases) - failed} of {len(cases)} cases passed")
    if failed:
        raise typer.Exit(1)


def _files(files: list[Path] | None, folder: Path) -> list[Path]:
    """Those that are named, or those in the folder; of a folder its YAML files."""
    from common.errors import ConfigError

    if not files and not folder.exists():
        raise ConfigError(
            f"{folder}: is not there: name FILEs with cases, or make this folder for them "
            "(docs/etlctl.md#etlctl-transform-test)"
        )
    found: list[Path] = []
    for path in files or [folder]:
        inside = sorted([*path.glob("*.yaml"), *path.glob("*.yml")]) if path.is_dir() else [path]
        if not inside:
            raise ConfigError(f"{path} has no file that ends in .yaml or .yml")
        found += inside
    return found


QueryName = Annotated[
    str, typer.Option("--query", metavar="NAME", help="The query, by its name.", show_default=False)
]
Limit = Annotated[
    int, typer.Option("--limit", metavar="SERIES", min=1, help="Series that are shown.")
]


@transform_app.command("preview")
def preview(
    query: QueryName,
    limit: Limit = 10,
    config: PlainConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a query's newest samples, and what becomes of them.

    One of each series. Nothing is written anywhere.
    """
    from common.config import load_settings
    from common.errors import ConfigError
    from etlctl.transform.preview import previewed

    settings: Settings = load_settings(config, secrets=("extract",))
    wanted = next((one for one in settings.extract.queries if one.name == query), None)
    if wanted is None:
        known = ", ".join(one.name for one in settings.extract.queries)
        raise ConfigError(f"--query: no query is named {query!r}: there are {known}")
    document = previewed(settings, wanted, limit)
    if as_json:
        from etlctl.output import print_json

        print_json(document)
        return
    _show(document)


def _show(document: dict[str, Any]) -> None:
    from etlctl.output import thousands

    for one in document["examples"]:
        typer.echo(f"  {one['series']}")
        after = one["line"] or f"dropped: {one['reason']}" + (one["rule"] and f", by {one['rule']}")
        typer.echo(f"    → {after}")
    if (hidden := document["series"] - len(document["examples"])) > 0:
        typer.echo(f"  … and {thousands(hidden)} more series (--limit shows more)")
    dropped = ", ".join(
        f"{thousands(number)} as {reason}" for reason, number in sorted(document["dropped"].items())
    )
    kept = document["series"] - sum(document["dropped"].values())
    typer.echo(
        f"{document['query']}: {thousands(document['series'])} series, {thousands(kept)} kept"
        + (f"; dropped: {dropped}" if dropped else "")
    )
