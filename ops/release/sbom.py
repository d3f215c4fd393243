"""The bill of materials: CycloneDX 1.6 in JSON, made and validated by CycloneDX's own library.

It is reproducible: the same parts give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from flyball.errors import NotFound

try:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentScope, ComponentType
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator
    from packageurl import PackageURL
except ImportError:
    raise NotFound("cyclonedx", "is not installed; run make release-tools") from None


@dataclass(frozen=True)
class Part:
    """A component. `kind`: a CycloneDX type. `tool`: only used to build. `requires`: names of other parts."""

    name: str
    version: str
    kind: str = "library"
    sha256: str = ""
    license: str = ""
    requires: tuple[str, ...] = ()
    on_pypi: bool = False
    tool: bool = False


def resolved(report: Mapping[str, Any]) -> dict[str, Part]:
    """The packages in pip's installation report, by name."""
    parts = {}
    for found in report["install"]:
        about = found["metadata"]
        requires = [line for line in about.get("requires_dist", []) if "extra ==" not in line]
        part = Part(
            _normal(about["name"]),
            about["version"],
            sha256=found["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256", ""),
            license=about.get("license_expression", ""),
            requires=tuple(_normal(re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in requires),
            on_pypi=True,
        )
        parts[part.name] = part
    return parts


def frozen(listed: str, compiled_in: Sequence[str]) -> list[Part]:
    """The packages in the output of `pip freeze`; those in `compiled_in` are part of the product, the others tools."""
    pairs = [line.split("==") for line in listed.splitlines()]
    return [Part(_normal(name), version, on_pypi=True, tool=name not in compiled_in) for name, version in pairs]


def document(product: Part, parts: Sequence[Part], time: int) -> str:
    """The document of a product and its parts; `time` in seconds since 1970."""
    ordered = sorted(parts, key=lambda part: (part.name, part.version))
    bom = Bom(serial_number=uuid5(NAMESPACE_URL, repr((product, ordered, time))))
    bom.metadata.timestamp = datetime.fromtimestamp(time, UTC)
    bom.metadata.component = _component(product)
    components = {part.name: _component(part) for part in ordered}
    bom.components.update(components.values())
    for part, component in [(product, bom.metadata.component), *((part, components[part.name]) for part in ordered)]:
        bom.register_dependency(component, [components[name] for name in part.requires if name in components])
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1) + "\n"


def fault(text: str) -> str:
    """The first violation of CycloneDX's schema; empty if the document is valid."""
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    return "" if error is None else str(error)


def _component(part: Part) -> Component:
    return Component(
        name=part.name,
        version=part.version,
        type=ComponentType(part.kind),
        bom_ref=f"{part.name}@{part.version}",
        scope=ComponentScope.EXCLUDED if part.tool else ComponentScope.REQUIRED,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=part.sha256)] if part.sha256 else [],
        licenses=[LicenseFactory().make_from_string(part.license)] if part.license else [],
        purl=PackageURL("pypi", name=part.name, version=part.version) if part.on_pypi else None,
    )


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
