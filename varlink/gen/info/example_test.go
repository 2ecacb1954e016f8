package info_test

import (
	"context"
	"fmt"
	"log"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/info"
)

// Ask a daemon where its store is and how much room there is.
func Example() { //nolint:deadcode // compiled, not run: it needs a daemon
	ctx := context.Background()
	conn, err := varlink.Dial(ctx, "unix:/run/imaged/imaged.sock")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	store, err := info.NewClient(conn).GetStore(ctx, info.GetStoreIn{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(store.GraphRoot, store.Images, "images,", store.Free, "bytes free")
}
