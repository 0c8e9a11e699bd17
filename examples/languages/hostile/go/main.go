// Goes for the machine, one attempt a route, and tells what came of it.
package main

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"trommel"
)

func attempt(params trommel.Params) (string, error) {
	switch params["try"] {
	case "read":
		content, err := os.ReadFile("/etc/hostname")
		return string(content), err
	case "write":
		return "written", os.WriteFile("/tmp/hostile", []byte("x"), 0o644)
	case "list":
		entries, err := os.ReadDir("/etc")
		return fmt.Sprint(entries), err
	case "environment":
		return orNothing(os.Environ()), nil
	case "arguments":
		return orNothing(os.Args[min(1, len(os.Args)):]), nil
	case "lookup":
		addresses, err := net.LookupHost("localhost")
		return fmt.Sprint(addresses), err
	case "connect":
		_, err := net.DialTimeout("tcp", "127.0.0.1:"+params["port"], 5*time.Second)
		return "connected", err
	case "flood":
		for range 10_000 {
			fmt.Println(strings.Repeat("x", 999))
		}
		return "printed", nil
	}
	return "", fmt.Errorf("no such attempt")
}

func orNothing(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, " ")
}

func init() {
	trommel.Export(trommel.Filter[trommel.Params]{
		Manifest: trommel.Manifest{Name: "hostile", Version: "1.0.0"},
		New:      func(_ string, params trommel.Params) (trommel.Params, error) { return params, nil },
		Matches: func(trommel.Params, *trommel.Event) bool {
			var drawn [4]byte
			rand.Read(drawn[:])
			fmt.Printf("clock %d, drew %x\n", time.Now().Unix(), drawn)
			return true
		},
		Process: func(params trommel.Params, _ *trommel.Event) (trommel.Outcome, error) {
			told, err := attempt(params)
			if err != nil {
				told = fmt.Sprintf("refused: %v", err)
			}
			return trommel.Replace([]byte(told)), nil
		},
	})
}

func main() {}
