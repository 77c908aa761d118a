"""What the bundle's text files say, read by the protos and schemas of their readers."""

import importlib.resources
import json

import jsonschema
import kubernetes_validate
import pytest
import yaml
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

import kmmft
from kmmft.export.bundle.deployment import write_deployment
from kmmft.export.bundle.serving_configs import write_serving_configs
from kmmft.serving.version_labels import version_labels

# The newest that the package of schemas knows; autoscaling/v2 is there since 1.23.
KUBERNETES = "1.33"


# What tensorflow-serving-api leaves out of servables/tensorflow/session_bundle_config
# .proto and config/monitoring_config.proto.
PROTOS = """
name: "left_out.proto" package: "tensorflow.serving" syntax: "proto3"
dependency: "google/protobuf/wrappers.proto"
message_type {
  name: "BatchingParameters"
  field { name: "max_batch_size" number: 1 INT64 }
  field { name: "batch_timeout_micros" number: 2 INT64 }
  field { name: "max_enqueued_batches" number: 3 INT64 }
  field { name: "num_batch_threads" number: 4 INT64 }
  field { name: "allowed_batch_sizes" number: 6 type: TYPE_INT64 label: LABEL_REPEATED }
  field { name: "pad_variable_length_inputs" number: 7 type: TYPE_BOOL }
}
message_type {
  name: "PrometheusConfig"
  field { name: "enable" number: 1 type: TYPE_BOOL }
  field { name: "path" number: 2 type: TYPE_STRING }
}
message_type {
  name: "MonitoringConfig"
  field {
    name: "prometheus_config" number: 1
    type: TYPE_MESSAGE type_name: ".tensorflow.serving.PrometheusConfig"
  }
}
""".replace("INT64 }", 'type: TYPE_MESSAGE type_name: ".google.protobuf.Int64Value" }')


def left_out(name):
    file = text_format.Parse(PROTOS, descriptor_pb2.FileDescriptorProto())
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(wrappers)
    pool.Add(file)
    found = pool.FindMessageTypeByName(f"tensorflow.serving.{name}")
    return message_factory.GetMessageClass(found)()


@pytest.fixture
def base(tmp_path):
    (tmp_path / "1").mkdir()
    write_serving_configs(tmp_path, "My_model", 1, max_batch_size=24)
    write_deployment(tmp_path, "My_model", size_mb=100, latency_target_ms=150)
    return tmp_path


def served_versions(base):
    text = (base / "serving/models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path) == ("My_model", "/models/My_model")
    assert model.model_platform == "tensorflow"
    return (
        list(model.model_version_policy.specific.versions),
        dict(model.version_labels),
    )


def test_the_canary_becomes_stable_when_it_is_promoted(base):
    assert served_versions(base) == ([1], {"stable": 1, "canary": 1})
    (base / "2").mkdir()
    write_serving_configs(base, "My_model", 2, max_batch_size=24)
    assert served_versions(base) == ([1, 2], {"stable": 1, "canary": 2})
    (base / "3").mkdir()
    write_serving_configs(base, "My_model", 3, max_batch_size=24)
    assert served_versions(base) == ([1, 3], {"stable": 1, "canary": 3})
    assert kmmft.export.promote(base) == 3
    assert served_versions(base) == ([3], {"stable": 3, "canary": 3})
    assert version_labels(base) == {"stable": 3, "canary": 3}


def test_a_stable_version_that_was_removed_is_replaced(base):
    (base / "1").rmdir()
    (base / "2").mkdir()
    write_serving_configs(base, "My_model", 2, max_batch_size=24)
    assert served_versions(base) == ([2], {"stable": 2, "canary": 2})


def test_promote_needs_a_canary(tmp_path):
    with pytest.raises(ValueError, match=r"must hold serving/models\.config"):
        kmmft.export.promote(tmp_path)


def test_batching_and_monitoring(base):
    text = (base / "serving/batching.config").read_text()
    config = text_format.Parse(text, left_out("BatchingParameters"))
    assert config.max_batch_size.value == 24
    assert list(config.allowed_batch_sizes) == [1, 2, 4, 8, 16, 24]
    assert config.pad_variable_length_inputs
    text = (base / "serving/monitoring.config").read_text()
    config = text_format.Parse(text, left_out("MonitoringConfig"))
    assert config.prometheus_config.enable


def manifest(base, name):
    return yaml.safe_load((base / f"serving/kubernetes/{name}.yaml").read_text())


def test_kubernetes_takes_the_manifests(base):
    for name in ("deployment", "service", "autoscaler", "volume"):
        kubernetes_validate.validate(manifest(base, name), KUBERNETES, strict=True)
    deployment = manifest(base, "deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe"):
        path = container[probe]["httpGet"]["path"]
        assert path == "/v1/models/My_model/metadata"
    assert "livenessProbe" in container
    scaler = manifest(base, "autoscaler")["spec"]
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    (metric,) = scaler["metrics"]
    assert metric["pods"]["target"]["averageValue"] == "150"
    rules = yaml.safe_load((base / "serving/prometheus_adapter.yaml").read_text())
    assert rules["rules"]["custom"][0]["name"]["as"] == metric["pods"]["metric"]["name"]
    claim = deployment["spec"]["template"]["spec"]["volumes"][0]
    name = claim["persistentVolumeClaim"]["claimName"]
    assert name == manifest(base, "volume")["metadata"]["name"] == "my-model"


def test_a_broken_manifest_is_found(base):
    deployment = manifest(base, "deployment")
    deployment["spec"]["template"]["spec"]["container"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, KUBERNETES, strict=True)


def test_compose_takes_the_file(base):
    schemas = importlib.resources.files("check_jsonschema") / "builtin_schemas/vendor"
    schema = json.loads((schemas / "compose-spec.json").read_text())
    compose = yaml.safe_load((base / "serving/docker-compose.yml").read_text())
    jsonschema.validate(compose, schema)
    service = compose["services"]["serving"]
    named = {
        argument.rpartition("serving/")[2]
        for argument in service["command"]
        if "/serving/" in argument
    }
    assert named == {"models.config", "batching.config", "monitoring.config"}
    assert all((base / "serving" / name).is_file() for name in named)
    compose["services"]["serving"]["prots"] = []
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(compose, schema)
