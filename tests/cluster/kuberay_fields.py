"""The fields of KubeRay 1.7's resources that this repository's manifests use, as a JSON schema that refuses all others.

It is not KubeRay's schema: that has a megabyte. `test_kuberay_files.py` also validates against that one where it is there.
"""

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
QUANTITY: Schema = {"type": "string", "pattern": r"^\d+(Ki|Mi|Gi|Ti)?$"}
NAME: Schema = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}


def one(of: dict[str, Schema], *required: str) -> Schema:
    return {"type": "object", "properties": of, "required": list(required), "additionalProperties": False}


def several(of: Schema) -> Schema:
    return {"type": "array", "items": of, "minItems": 1}


def mapping(to: Schema) -> Schema:
    return {"type": "object", "additionalProperties": to}


SECRET_KEY = one({"secretKeyRef": one({"name": NAME, "key": TEXT, "optional": {"type": "boolean"}}, "name", "key")})
VARIABLE = one({"name": TEXT, "value": TEXT, "valueFrom": SECRET_KEY}, "name")
CONTAINER = one(
    {
        "name": NAME,
        "image": TEXT,
        "env": several(VARIABLE),
        "ports": several(one({"containerPort": COUNT, "name": NAME}, "containerPort")),
        "resources": one({"requests": mapping(QUANTITY), "limits": mapping(QUANTITY)}),
        "volumeMounts": several(one({"name": NAME, "mountPath": TEXT}, "name", "mountPath")),
    },
    "name",
    "image",
)
VOLUME = one(
    {
        "name": NAME,
        "persistentVolumeClaim": one({"claimName": NAME}, "claimName"),
        "emptyDir": one({"medium": {"enum": ["Memory"]}}),
    },
    "name",
)
POD = one(
    {
        "spec": one(
            {
                "securityContext": one({"runAsUser": COUNT, "runAsGroup": COUNT, "fsGroup": COUNT}),
                "containers": several(CONTAINER),
                "volumes": several(VOLUME),
                "tolerations": several(
                    one({"key": TEXT, "operator": {"enum": ["Exists", "Equal"]}, "effect": {"enum": ["NoSchedule"]}})
                ),
            },
            "containers",
        )
    },
    "spec",
)
START_PARAMETERS = mapping(TEXT)
CLUSTER = one(
    {
        "rayVersion": TEXT,
        "authOptions": one({"mode": {"enum": ["disabled", "token"]}, "secretName": NAME}),
        "headGroupSpec": one({"rayStartParams": START_PARAMETERS, "template": POD}, "template"),
        "workerGroupSpecs": several(
            one(
                {
                    "groupName": NAME,
                    "replicas": COUNT,
                    "minReplicas": COUNT,
                    "maxReplicas": COUNT,
                    "rayStartParams": START_PARAMETERS,
                    "template": POD,
                },
                "groupName",
                "maxReplicas",
                "minReplicas",
                "template",
            )
        ),
    },
    "headGroupSpec",
)
SPECS = {
    "RayCluster": CLUSTER,
    "RayJob": one(
        {
            "entrypoint": TEXT,
            "runtimeEnvYAML": TEXT,
            "backoffLimit": COUNT,
            "shutdownAfterJobFinishes": {"type": "boolean"},
            "ttlSecondsAfterFinished": COUNT,
            "rayClusterSpec": CLUSTER,
        }
    ),
    "RayService": one({"serveConfigV2": TEXT, "rayClusterConfig": CLUSTER}, "rayClusterConfig"),
}


def resource(kind: str) -> Schema:
    """Return the schema of a whole resource of one of the three kinds."""
    return one(
        {
            "apiVersion": {"enum": ["ray.io/v1"]},
            "kind": {"enum": [kind]},
            "metadata": one({"name": NAME, "generateName": TEXT}),
            "spec": SPECS[kind],
        },
        "apiVersion",
        "kind",
        "metadata",
        "spec",
    )
