package progress

// Phase says what an operation is doing.
type Phase string

// The phases, in the order in which most operations go through them.
const (
	// Resolving: names are looked up and manifests read.
	Resolving Phase = "resolving"
	// Transferring: blobs are on their way.
	Transferring Phase = "transferring"
	// Unpacking: everything has arrived, layers are being unpacked.
	Unpacking Phase = "unpacking"
	// Committing: the image is being recorded and brought to the disk.
	Committing Phase = "committing"
	// Waiting: for a pause that the registry asked for, before a retry, or for an operation that is in the way.
	Waiting Phase = "waiting"
)

// Kind says what a blob is.
type Kind string

// The kinds of blobs.
const (
	// Manifest is a manifest or a manifest list.
	Manifest Kind = "manifest"
	// Config is an image's configuration.
	Config Kind = "config"
	// Layer is a layer.
	Layer Kind = "layer"
	// Other is anything else.
	Other Kind = "other"
)

// State says how far a blob is.
type State string

// The states of a blob. Done, Skipped and Failed are ends; a retry may lead from Failed back to BlobTransferring.
const (
	// BlobWaiting: nothing has been done about it yet.
	BlobWaiting State = "waiting"
	// BlobTransferring: its bytes are on their way.
	BlobTransferring State = "transferring"
	// BlobUnpacking: all of it has arrived and is being unpacked.
	BlobUnpacking State = "unpacking"
	// BlobDone: it has been transferred and used.
	BlobDone State = "done"
	// BlobSkipped: it was here already.
	BlobSkipped State = "skipped"
	// BlobFailed: it could not be had.
	BlobFailed State = "failed"
)

// Blob is one blob of an operation.
type Blob struct {
	// Digest names it, as sha256:….
	Digest string
	// Kind is what it is.
	Kind Kind
	// State is how far it is.
	State State
	// Offset counts its bytes that were transferred, from zero again when a retry starts it anew.
	Offset int64
	// Size is its length in bytes as transferred; nil if that is not known.
	Size *int64
}

// Snapshot is how far an operation was at one moment. It shares nothing that changes and may be kept.
type Snapshot struct {
	// Phase is what was being done.
	Phase Phase
	// Done counts the bytes transferred, over all blobs. It never goes back.
	Done int64
	// Total is how many bytes there are to transfer, those already here not counted; nil until known.
	Total *int64
	// Cached counts the bytes that were already here.
	Cached int64
	// BytesPerSecond is the rate over the last three seconds.
	BytesPerSecond int64
	// LayersDone counts the layers that were finished or already here.
	LayersDone int
	// LayersTotal is how many layers there are; nil until known.
	LayersTotal *int
	// Blobs are those that changed since the revision that was asked for, in the order in which they became known.
	Blobs []Blob
}

// Revision is a point in a Tracker's history. The zero value lies before the first change.
type Revision uint64
