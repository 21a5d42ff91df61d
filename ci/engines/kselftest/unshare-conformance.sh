#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# The suite as one kselftest: KTAP on standard output, 4 where nothing can be said. Put this file and the static
# binary into a directory of an installed kselftest and add it to the list:
#
#   mkdir "$KSELFTEST/unshare-conformance"
#   cp unshare-conformance.sh unshare-conformance settings "$KSELFTEST/unshare-conformance/"
#   echo unshare-conformance:unshare-conformance.sh >> "$KSELFTEST/kselftest-list.txt"
#   "$KSELFTEST/run_kselftest.sh" --collection unshare-conformance
#
# UNSHARE_CONFORMANCE_ARGUMENTS are further arguments, e.g. "--tier quick flags.".
here=$(cd "$(dirname "$0")" && pwd)
program=${UNSHARE_CONFORMANCE:-$here/unshare-conformance}
# shellcheck disable=SC2086 # several words
"$program" --format ktap $UNSHARE_CONFORMANCE_ARGUMENTS
status=$?
[ "$status" -ne 125 ] || exit 4
exit "$status"
