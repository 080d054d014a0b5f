// The Go client library against a server: every scenario of packages.rs, in one of both encodings.
//
//	sdk-go '{"url": "http://127.0.0.1:8000", "line": "127.0.0.1:8001", "control": "127.0.0.1:8002",
//	         "protobuf": false, "secret": "...", "key": "..."}'
//
// The line leads to a server too, and is down for as long as somebody is connected to its control port. What was seen is
// printed as one line of JSON.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	var s scenario
	check("options", json.Unmarshal([]byte(os.Args[1]), &s.options))
	fmt.Println(string(encode(s.play())))
}
