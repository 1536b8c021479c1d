# shellcheck shell=bash
# Functions that the scripts in deploy/ share. Sourced, not run.

# Sees to a .NET 10 SDK, from the distribution where it has one.
need_dotnet() {
    if command -v dotnet >/dev/null && dotnet --list-sdks | grep -q '^10\.'; then
        return
    fi
    local root=()
    [ "$(id -u)" -eq 0 ] || root=(sudo)
    echo "installing the .NET 10 SDK" >&2
    if ! { "${root[@]}" apt-get update -qq && "${root[@]}" apt-get install -y -qq --no-install-recommends dotnet-sdk-10.0; } >&2; then
        echo "the .NET 10 SDK is missing and this distribution has no package dotnet-sdk-10.0: install it, then run this again" >&2
        exit 1
    fi
}

# $1: a project file. Builds it and prints nothing unless that fails.
build_quietly() {
    local log
    log=$(mktemp)
    if ! dotnet build --configuration Release --nologo --verbosity quiet "$1" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        exit 1
    fi
    rm -f "$log"
}

# $1: a file that was built, the rest: files and folders it is built from. Whether it is newer than all of them; a folder is newer
# where a file was added or deleted.
is_current() {
    local built=$1
    shift
    [ -e "$built" ] && [ -z "$(find "$@" -path '*/obj' -prune -o -path '*/bin' -prune -o -newer "$built" -print -quit)" ]
}

# Publishes the service to artifacts/assignhub: with the parts of the runtime that it uses, all of it compiled ahead of time, because under the
# lab's emulation compiling at run time takes long. What its own libraries reach by reflection is kept (TrimMode=partial).
publish_service() {
    local log repository
    repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    if is_current "$repository/artifacts/assignhub/assignhub" "$repository"/{api,engine,db} "$repository"/Directory.*.props; then
        return
    fi
    log=$(mktemp)
    if ! dotnet publish "$repository/api/api.csproj" --configuration Release --use-current-runtime --self-contained true \
        -p:PublishReadyToRun=true -p:PublishReadyToRunComposite=true -p:PublishTrimmed=true -p:TrimMode=partial -p:SuppressTrimAnalysisWarnings=true \
        --nologo --verbosity quiet --output "$repository/artifacts/assignhub" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        exit 1
    fi
    touch "$repository/artifacts/assignhub/assignhub"
    rm -f "$log"
}
