package images_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/imaged-project/imaged/varlink"
	"github.com/imaged-project/imaged/varlink/gen/images"
)

// shelf is a store of one image, which knows one method.
type shelf struct{ images.Unimplemented }

func (shelf) Get(_ context.Context, in images.GetIn) (images.GetOut, error) {
	if in.Name != "alpine" {
		return images.GetOut{}, &images.ImageNotFoundError{Name: in.Name, Message: in.Name + ": no such image"}
	}
	return images.GetOut{Image: images.Image{Names: []string{"docker.io/library/alpine:latest"}, Size: 8123456}}, nil
}

// A service and its client in one process. Errors arrive as the types of the package.
func Example() {
	dir, err := os.MkdirTemp("", "images")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	address := "unix:" + filepath.Join(dir, "imaged.sock")
	listener, err := varlink.Listen(address, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	var server varlink.Server
	if err := server.Register(images.New(shelf{})); err != nil {
		log.Fatal(err)
	}
	go func() { log.Print(server.Serve(listener)) }()
	defer server.Close()

	ctx := context.Background()
	conn, err := varlink.Dial(ctx, address)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	client := images.NewClient(conn)
	for _, name := range []string{"alpine", "debian"} {
		out, err := client.Get(ctx, images.GetIn{Name: name})
		if missing, ok := errors.AsType[*images.ImageNotFoundError](err); ok {
			fmt.Println("not here:", missing.Name)
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(out.Image.Names[0], out.Image.Size)
	}
	// Output:
	// docker.io/library/alpine:latest 8123456
	// not here: debian
}
