package wire_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/imaged-project/imaged/tests/daemon"
	"github.com/imaged-project/imaged/tests/registrytest"
)

// TestImagesWithHugeLabels has images whose records are together longer than a message may be.
func TestImagesWithHugeLabels(t *testing.T) {
	t.Parallel()
	const images = 6
	r := registrytest.New(t, registrytest.Options{})
	d := daemon.Start(t, daemon.Options{})
	for i := range images {
		image := fmt.Sprintf("huge:%d", i)
		// A control character is six bytes in JSON.
		r.PushImage(t, image, registrytest.ImageOptions{Layers: 1, Seed: 1, Labels: map[string]string{"a": strings.Repeat("\x01", 650_000), "b": fmt.Sprint(i)}})
		if r := d.Call(t, "io.imaged.transfers.Pull", pull(r.Ref(image))); r.Error != "" {
			t.Fatalf("%.500s", r.Raw)
		}
	}
	c := d.Dial(t)
	listed := 0
	for _, r := range c.Replies(t, "io.imaged.images.List", "", "more") {
		var reply struct{ Images []struct{ ID string } }
		r.Into(t, &reply)
		listed += len(reply.Images)
	}
	if listed != images {
		t.Errorf("%d images are listed", listed)
	}
	if r := c.Call(t, "io.imaged.images.List", ""); r.Error != "io.imaged.images.LimitExceeded" {
		t.Errorf("without more: %.500s", r.Raw)
	}
	if r := c.Call(t, "io.imaged.images.Inspect", fmt.Sprintf(`{"name":%q}`, r.Ref("huge:1"))); r.Error != "" {
		t.Errorf("Inspect: %.500s", r.Raw)
	}
	wantPing(t, c)
}
