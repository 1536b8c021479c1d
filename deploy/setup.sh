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

# $1: where to. Publishes the service, compiled ahead of time: under the lab's emulation compiling at run time takes long.
publish_service() {
    local log repository
    repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    log=$(mktemp)
    if ! dotnet publish "$repository/api/api.csproj" --configuration Release --use-current-runtime --self-contained false \
        -p:PublishReadyToRun=true --nologo --verbosity quiet --output "$1" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        exit 1
    fi
    rm -f "$log"
}
