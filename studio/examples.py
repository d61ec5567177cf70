"""The examples that the demo prints and the documentation repeats; a test runs each of them against a running stack."""

import json
import shlex

# The model that ships with the project draws this well.
PROMPT = "mountains at sunset with a lake"


def curl_example(http: str, email: str, password: str) -> str:
    """Returns two shell commands that log in and submit a job with curl."""
    login = shlex.quote(json.dumps({"email": email, "password": password}))
    prompt = shlex.quote(json.dumps({"prompt": PROMPT}))
    read_token = shlex.quote('import json, sys; print(json.load(sys.stdin)["access_token"])')
    return "\n".join(
        (
            f"TOKEN=$(curl -s {http}/api/v1/auth/login -d {login} | python3 -c {read_token})",
            f'curl -s {http}/api/v1/generate/text-to-image -H "authorization: Bearer $TOKEN" -d {prompt}',
        )
    )


def python_example(grpc: str, email: str, password: str) -> str:
    """Returns a program that logs in, has a picture made, follows its progress, and prints its address."""
    return f"""\
import grpc
from pingvas.generation.v1 import generation_service_pb2 as api, generation_service_pb2_grpc, job_pb2
from pingvas.user.v1 import auth_service_pb2, auth_service_pb2_grpc

channel = grpc.insecure_channel({grpc!r})
login = auth_service_pb2.LoginRequest(email={email!r}, password={password!r})
tokens = auth_service_pb2_grpc.AuthServiceStub(channel).Login(login)
me = [("authorization", f"Bearer {{tokens.access_token}}")]

jobs = generation_service_pb2_grpc.GenerationServiceStub(channel)
operation = job_pb2.TextToImage(prompt={PROMPT!r})
job = jobs.CreateJob(api.CreateJobRequest(text_to_image=operation), metadata=me)
for event in jobs.WatchJob(api.WatchJobRequest(job_id=job.job_id), metadata=me):
    print(event.WhichOneof("detail"), event.progress.percent)
print(jobs.GetJob(api.GetJobRequest(job_id=job.job_id), metadata=me).images[0].url)
"""
