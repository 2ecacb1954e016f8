// Package hostconf finds the containers configuration of the host and tells where each part of it comes from.
//
// The host's own files always win: policy.json, registries.conf, storage.conf and containers.conf where podman and
// skopeo look for them. A host that has no policy.json or no registries.conf gets a default that is built in, since
// without them nothing could be pulled; that is logged once and shown by Sources. The other two have defaults inside
// the libraries.
//
// The choice is made when the configuration is loaded and at each Reload, never in between: a policy.json that is
// deleted while the program runs makes pulls fail instead of letting everything in. And once a policy.json of the
// host was seen, the built-in policy is out of the question until the program ends.
//
// Package engine and its sub-packages may import it, nothing else may.
package hostconf
