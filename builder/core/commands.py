"""The command line as a table: every command with its arguments, and the function that runs it.

A new option is a row here and a field in ``builder.core.options``: the parser, the help, the
completion of shells and the check of the documentation read this table.
"""

from __future__ import annotations

from pathlib import Path

from builder.core.options import (
    ANY_RELEASE,
    BUILD,
    DRY_SWARM,
    INTERVAL,
    JSON,
    NOT_NEGATIVE,
    PROGRESS,
    REPORT,
    SELECT,
    STACKS,
    TIMEOUT,
    TREE,
    VERSION,
    BuildOptions,
    CommandRow,
    CompletionOptions,
    DeployOptions,
    DiffOptions,
    DownOptions,
    GraphOptions,
    InitOptions,
    ListOptions,
    LogsOptions,
    PromoteOptions,
    PruneOptions,
    RegistryOptions,
    ReleaseOptions,
    ReportOptions,
    SelectOptions,
    StatusOptions,
    SwarmOptions,
    TreeOptions,
    WordKind,
    address,
    flag,
    operand,
    option,
)

DESCRIPTION = "Turns a tree of Dockerfile directories into published, deployable releases."

# What runs a command is named here and imported when it runs: that of `build` alone takes 100 ms.
# This is a table, and the formatter would give each word of it a line.
# fmt: off
_ROWS = (
    CommandRow("build", "make images, and publish them with --push; the default command",
        "build:build_or_show", (TreeOptions, SelectOptions, BuildOptions), (
            *SELECT, *TREE, *BUILD,
            flag("--push", "publish the release, or none of it"),
            flag("--dry-run", "only show the plan"),
            REPORT, PROGRESS,
        ), target_required=True),
    CommandRow("plan", "show what would be done for each image, and why", "build:plan",
        (TreeOptions, SelectOptions, BuildOptions), (
            *SELECT, *TREE, *BUILD,
            flag("--push", "ask the registry, as a run that publishes does"),
            JSON,
        ), target_required=True),
    CommandRow("refresh", "make anew what went stale: moved bases, outdated packages",
        "refresh:refresh", (TreeOptions, SelectOptions, BuildOptions), (
            *SELECT, *TREE, *BUILD,
            flag("--push", "publish what was made anew"),
            flag("--dry-run", "only show what is stale"),
            REPORT, PROGRESS, JSON,
        )),
    CommandRow("graph", "show which image is built on which", "inspect:graph",
        (TreeOptions, SelectOptions, GraphOptions), (
            *SELECT, *TREE,
            option("--format", None, None, choices=("tree", "json", "dot", "mermaid", "svg")),
            flag("--json", "same as --format json", field="format", const="json"),
        )),
    CommandRow("list", "list images in build order", "inspect:list_images",
        (TreeOptions, SelectOptions, ListOptions), (*SELECT, *TREE, JSON)),
    CommandRow("check", "look for mistakes in build.toml, Dockerfiles and contexts",
        "inspect:check", (TreeOptions, SelectOptions, ListOptions), (*SELECT, *TREE, JSON)),
    CommandRow("registry", "run the embedded registry", "registry:registry", (RegistryOptions,), (
            operand("action", None, None, choices=("start", "stop", "status")),
            option("--address", "HOST:PORT", "where it listens (default: 127.0.0.1:5000)"),
            JSON,
        )),
    CommandRow("release", "list, show, compare, verify and promote releases"),
    CommandRow("release ls", "list the releases of the registry, newest first", "release:ls",
        (TreeOptions, ListOptions), (*TREE, JSON)),
    CommandRow("release show", "show what is in a release", "release:show",
        (TreeOptions, ReleaseOptions), (*TREE, ANY_RELEASE, JSON)),
    CommandRow("release diff", "show what differs between two releases, and why", "release:diff",
        (TreeOptions, DiffOptions), (
            *TREE,
            operand("old", "A", "the tag of the release to compare with", offers=WordKind.RELEASE),
            operand("new", "B", "the tag of the other one", offers=WordKind.RELEASE),
            JSON,
        )),
    CommandRow("release verify", "check that everything of a release is still in the registry",
        "release:verify", (TreeOptions, ReleaseOptions), (
            *TREE, ANY_RELEASE,
            flag("--deep", "download every blob and compute its digest"),
            JSON,
        )),
    CommandRow("release promote", "copy a release to another registry or namespace",
        "release:promote", (TreeOptions, PromoteOptions), (
            *TREE,
            operand("tag", "TAG", "the release to copy", offers=WordKind.RELEASE),
            option("--to", "REGISTRY/NAMESPACE", "where it is to be as well", field="target",
                   required=True),
            flag("--dry-run", "only say what would be copied, and what forbids it"),
            JSON,
        )),
    CommandRow("prune", "remove old releases from the registry and old images from the engine",
        "prune:prune", (TreeOptions, PruneOptions), (
            *TREE,
            option("--keep-commits", "N",
                   "keep the releases of the newest N commits"
                   " (default: 10, or as build.toml says)",
                   type=int, limit=NOT_NEGATIVE),
            option("--branch", "NAME", "of this branch (default: that of build.toml, else any)"),
            option("--keep-days", "D",
                   "keep what is younger than D days (default: 14, or as build.toml says)",
                   type=int, limit=NOT_NEGATIVE),
            flag("--yes", "delete; without it, only what would be deleted is shown",
                 also="--delete", field="delete"),
            flag("--collect",
                 "after it, stop the embedded registry, free its disk, and start it again;"
                 " nobody may push meanwhile",
                 only_with=("delete", "--collect frees nothing without --yes")),
            JSON,
        )),
    CommandRow("deploy", "bring stacks to a published release, and see that they are well",
        "deploy:deploy", (TreeOptions, DeployOptions), (
            *STACKS, TIMEOUT,
            option("--release", "TAG", "which one (default: latest)", offers=WordKind.RELEASE),
            option("--env-file", "FILE",
                   "addresses and secrets (default: common.env beside each compose file)",
                   type=Path),
            flag("--dry-run", "only show what would be started"),
        )),
    CommandRow("deploy init", "make the swarm that networks between hosts need",
        "deploy:make_swarm", (TreeOptions, SwarmOptions), (
            *TREE,
            option("--host", "NAME", 'which one (default: "controller", or the only one)',
                   offers=WordKind.HOST),
            address("--advertise-addr", "the other hosts reach it"),
            address("--data-path-addr", "overlays go"),
            DRY_SWARM,
        )),
    CommandRow("deploy join", "have the other hosts join that swarm", "deploy:join_swarm",
        (TreeOptions, SwarmOptions), (
            operand("hosts", "HOST", "default: all of them", repeated=True, offers=WordKind.HOST),
            *TREE, DRY_SWARM,
        )),
    CommandRow("status", "show what is deployed, and how it is", "status:status",
        (TreeOptions, DeployOptions, StatusOptions), (
            *STACKS,
            option("--release", "TAG", "compare with this release, not with the deployed one",
                   field="against", offers=WordKind.RELEASE),
            flag("--watch", "go on, and show what changes, until interrupted"),
            option("--interval", "SECONDS", "how long --watch waits between two looks (default: 2)",
                   type=float, only_with=("watch", "--interval is for --watch"), limit=INTERVAL),
            JSON,
        )),
    CommandRow("rollback", "bring stacks back to what ran before", "deploy:rollback",
        (TreeOptions, DeployOptions), (*STACKS, TIMEOUT)),
    CommandRow("down", "remove the containers of stacks; data stays", "deploy:down",
        (TreeOptions, DeployOptions, DownOptions),
        (*STACKS, flag("--volumes", "remove their data, too"))),
    CommandRow("logs", "show what the containers of stacks wrote", "deploy:logs",
        (TreeOptions, DeployOptions, LogsOptions), (
            *STACKS,
            option("--tail", "N", "lines of each (default: 100)"),
            flag("--follow", "go on until interrupted"),
        )),
    CommandRow("doctor", "look whether this machine can build, publish and deploy", "doctor:doctor",
        (TreeOptions, ListOptions), (*TREE, JSON)),
    CommandRow("report", "show what the last run did, or the one of a given report",
        "inspect:report", (TreeOptions, ReportOptions), (
            operand("file", "FILE", "a report that --report wrote (default: that of the last run)",
                    required=False, type=Path),
            flag("--failed", "only what did not succeed"),
            *TREE, JSON,
        )),
    CommandRow("completion", "print what makes a shell complete commands, images and stacks",
        "completion:completion", (CompletionOptions,),
        (operand("shell", None, None, choices=("bash", "zsh", "fish")),)),
    CommandRow("init", "propose a build.toml for a tree that has none", "init:init",
        (InitOptions,), (
            operand("folder", "FOLDER", None, required=False, type=Path),
            flag("--force", "overwrite a build.toml"),
            flag("--print", "only print it", field="show"),
        )),
)
# fmt: on
COMMANDS = {row.name: row for row in _ROWS}
# The command whose name may be left out.
DEFAULT = COMMANDS["build"]
# What may be said instead of a command.
TOP = CommandRow("", DESCRIPTION, arguments=(VERSION,))
