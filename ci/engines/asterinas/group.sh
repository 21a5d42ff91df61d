#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# One group of cases as one test of Asterinas' kselftest runner, which knows 0 and everything else. The group is the
# name of this file: `install` makes a copy for each.
here=$(cd "$(dirname "$0")" && pwd)
group=$(basename "$0" .sh)
report=${TMPDIR:-/tmp}/unshare-conformance-$group.$$
trap 'rm -f "$report"' EXIT
set -- run --tier quick --format tap --profile "$here/profile.toml"
[ ! -e "$here/expectations.toml" ] || set -- "$@" --expectations "$here/expectations.toml"
"$here/unshare-conformance" "$@" "$group." >"$report"
status=$?
cat "$report"
# Nothing but skips is no failure.
if [ "$status" -eq 125 ] && grep -q '# SKIP' "$report" && ! grep -q -e '^not ok' -e '^Bail out!' "$report"; then
    exit 0
fi
exit "$status"
