"""How the code speaks: `python tools/measure_names.py [FOLDER ...]` prints one row for each package.

A row has the share of functions whose names begin with a verb, and the share whose names begin with a past participle.
Properties, dunders and what a library prescribes (`forward`, `state_dict`) are left out. `--list` prints the names
that begin with no verb.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path

PRESCRIBED = {"forward", "backward", "state_dict", "main"}
VERBS = frozenset(
    """
    accept accumulate activate adapt add adjust advance align allocate answer append apply are ask assemble assert assign
    associate attach attend augment average await backproject begin bind blend blur bring
    broadcast build calibrate call cancel can carry cast center check choose claim clamp classify clean clear clip
    clone close cluster collapse collect combine compact compare compensate compile complete compose compress
    compute concatenate configure confirm connect consume contain contains contract convert convolve copy correct count cover
    create crop cull cut deactivate decide declare decode decompose decrease deduplicate degrade delete deliver denoise
    derive deserialize describe destroy detach detect determine diagnose discard discover disconnect dispatch
    display distort divide do download drain draw drop dump emit enable encode end enlarge ensure enter enumerate erase
    erode escape estimate evaluate evict examine exchange exclude execute exit expand expect explain export extend extract
    fail feed fetch fill filter find finish fit fix flatten flip flush fold follow forget format forward free freeze fuse
    gather generate get give group grow guess guard handle has hide hold hook import include increase infer
    inform initialize insert inspect install integrate interleave interpolate interrupt intersect invalidate invert is
    iterate join jump keep kill label launch lay learn leave lift limit link list listen load localize locate lock
    log look lookup lower make mark match may measure merge mirror mix modulate move multiply mutate
    normalize note notify observe obtain offer open optimize order overlay pack pad paint pair parse partition pass patch pause
    permute persist pick plan play plot pool pop post predict prefetch prepare preprocess print probe process
    produce project propagate propose prune publish pull push put quit raise rank rasterize reach read reason
    rebuild recall receive recognize recompute reconfigure reconstruct record recover reduce refine refit refresh refuse
    register reject relabel relax release relocalize remap remember remove rename render renumber repeat replace replay report
    request require resample reserve reset reshape resize resolve respond restart restore restrict resume retire retrieve
    retry return reuse reverse revert rewind rewrite rotate round run sample save say scan scatter schedule
    search seek segment select send separate serialize serve set settle shift should show shrink shuffle shut
    sign simplify simulate skip sleep slice smooth solve sort spawn spin split spread start step stop
    store strip subdivide submit subsample subscribe substitute subtract suggest sum summarize supervise suppress swap
    switch synchronize take tell test thin throttle total trace track train transfer transform
    translate transpose traverse triangulate trim turn unbind uninstall unite unload unlock unpack unproject unregister
    unroll unsubscribe unwrap update upsample use validate verify voxelize wait wake walk wander warm warn warp
    watch weigh weight wrap write yield zip
    """.split()  # noqa: SIM905
)
PARTICIPLES = frozenset(
    """
    begun bent bound bought broken brought built caught chosen cut done drawn driven eaten fallen fed felt found frozen given
    gone grown heard held hidden hung kept known laid led left lent lit lost made meant met paid put read said seen sent
    set shown shut spent split spoken spread stood struck taken taught thinned thought thrown told torn understood woken won
    worn written
    """.split()  # noqa: SIM905
)


def find_functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions of a file that are counted."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            is_property = any("property" in name or name.endswith(".setter") for name in decorators)
            if not is_property and not node.name.startswith("__") and node.name not in PRESCRIBED:
                yield node


def first_word(name: str) -> str:
    """`_read_file` -> `read`; `addTopic` -> `add`."""
    word = name.strip("_").split("_")[0]
    return "".join(f"_{c.lower()}" if c.isupper() and k else c.lower() for k, c in enumerate(word)).split("_")[0]


def is_verb(name: str) -> bool:
    """Whether a function's name begins with a verb in its base form, or with is, has, are, can."""
    return first_word(name) in VERBS


def is_participle(name: str) -> bool:
    """Whether a name begins with a past participle."""
    word = first_word(name)
    return word not in VERBS and (word in PARTICIPLES or (word.endswith("ed") and word not in ("seed", "bed", "need", "speed", "feed")))  # fmt: skip


def main(folders: list[Path], list_names: bool) -> None:
    """Print the table, or what is no verb."""
    print("| package | functions | begin with a verb | with a past participle |")
    print("|---|---|---|---|")
    for folder in folders:
        found = [(path, node) for path in sorted(folder.rglob("*.py")) for node in find_functions(path)]
        verbs = sum(is_verb(node.name) for _, node in found)
        participles = sum(is_participle(node.name) for _, node in found)
        total = max(len(found), 1)
        print(f"| {folder.name} | {len(found)} | {100 * verbs / total:.1f} % | {100 * participles / total:.1f} % |")
        if list_names:
            for path, node in found:
                if not is_verb(node.name):
                    print(f"{path}:{node.lineno}: {node.name}{' (participle)' if is_participle(node.name) else ''}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, default=[Path("moonseg3r_core"), Path("moonseg3r_ros")])
    parser.add_argument("--list", action="store_true", help="name the functions that begin with no verb")
    arguments = parser.parse_args()
    main(arguments.folders, arguments.list)
