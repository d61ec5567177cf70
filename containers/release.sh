#!/usr/bin/env bash
# Builds both images from base images pinned by digest, with an SBOM and provenance attached, pushes them, and writes
# their own digests into an overlay of k8s/, which is then committed: Argo CD rolls out what is in the repository.
#
#   containers/release.sh REGISTRY VERSION [OVERLAY]        # such as 1234.dkr.ecr.ap-northeast-2.amazonaws.com 1.4.0 prod
set -euo pipefail
cd "$(dirname "$0")/.."
registry=${1:?the registry, such as 1234.dkr.ecr.ap-northeast-2.amazonaws.com}
version=${2:?the version, such as 1.4.0}
overlay=k8s/overlays/${3:-prod}

digest_of() { docker buildx imagetools inspect "$1" --format '{{.Manifest.Digest}}'; }

# Turns each `ARG X_IMAGE=name:tag` of a file into `--build-arg X_IMAGE=name:tag@sha256:...`.
pinned() {
  sed -n 's/^ARG \([A-Z]*_IMAGE\)=\(.*\)$/\1 \2/p' "$1" | sort -u | while read -r name image; do
    printf -- '--build-arg\n%s=%s@%s\n' "$name" "$image" "$(digest_of "$image")"
  done
}

for part in services worker; do
  file=containers/$part.Dockerfile
  image=$registry/pingvas/$part
  mapfile -t arguments < <(pinned "$file")
  docker buildx build --file "$file" --tag "$image:$version" "${arguments[@]}" \
    --platform linux/amd64 --sbom=true --provenance=mode=max --push .
  digest=$(digest_of "$image:$version")
  (cd "$overlay" && kustomize edit set image "pingvas/$part=$image@$digest")
  echo "$image:$version is $digest"
done
