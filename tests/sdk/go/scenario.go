package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/centrifugal/centrifuge-go"
)

const (
	// Of tokens; the server counts in whole seconds.
	life       = 3 * time.Second
	cutsOfLine = 3
)

var filler = strings.Repeat("the same again and again, ", 160)

type scenario struct {
	options struct {
		URL      string `json:"url"`
		Line     string `json:"line"`
		Control  string `json:"control"`
		Protobuf bool   `json:"protobuf"`
		Secret   string `json:"secret"`
		Key      string `json:"key"`
	}
	// One server may see several runs.
	run                 string
	renewed, renewedSub atomic.Int64
	published           atomic.Int64
}

type object = map[string]any

func (s *scenario) play() object {
	s.run = rand.Text()
	bob := s.connection("bob").up()
	defer bob.Close()
	return object{
		"refused":  s.refusals(bob),
		"history":  s.history(bob),
		"presence": s.presence(bob),
		"binary":   s.binary(bob),
		"cuts":     s.cuts(bob),
	}
}

func (s *scenario) websocket() string {
	return strings.Replace(s.options.URL, "http", "ws", 1) + "/connection/websocket"
}

func (s *scenario) channel(namespace, name string) string {
	return namespace + ":" + name + "-" + s.run
}

func (s *scenario) token(name string, claims object) string {
	all := object{"sub": name + "-" + s.run, "info": object{"name": name}}
	for claim, value := range claims {
		all[claim] = value
	}
	return token(s.options.Secret, all)
}

func (s *scenario) connection(name string) *connection {
	return newConnection(s.websocket(), s.options.Protobuf, centrifuge.Config{Token: s.token(name, nil)})
}

// Call has a backend call the server.
func (s *scenario) call(method string, body object) {
	request, err := http.NewRequest(http.MethodPost, s.options.URL+"/api/"+method, bytes.NewReader(encode(body)))
	check(method, err)
	request.Header.Set("X-API-Key", s.options.Key)
	response, err := http.DefaultClient.Do(request)
	check(method, err)
	defer response.Body.Close()
	var answer struct {
		Error *centrifuge.Error `json:"error"`
	}
	check(method, json.NewDecoder(response.Body).Decode(&answer))
	if answer.Error != nil {
		check(method, answer.Error)
	}
}

// What is refused, by the code that the library reports.
func (s *scenario) refusals(bob *connection) object {
	foreign := func(claims object) string { return token("another secret", claims) }
	stranger := newConnection(s.websocket(), s.options.Protobuf, centrifuge.Config{Token: foreign(object{"sub": "ann"})})
	check("connect", stranger.Connect())
	until("refusal of a token", func() bool { return stranger.disconnected.len() > 0 })
	codes := object{"connect": stranger.disconnected.all()}

	subscribe := func(what, channel, token string) {
		refused := bob.subscription(channel, centrifuge.SubscriptionConfig{Token: token})
		until("refusal of "+channel, func() bool { return refused.unsubscribed.len() > 0 })
		codes[what] = refused.unsubscribed.all()
		check(channel, bob.RemoveSubscription(refused.Subscription))
	}
	private, closed := s.channel("private", "room"), s.channel("closed", "room")
	subscribe("unknown", s.channel("nowhere", "room"), "")
	subscribe("closed", closed, "")
	subscribe("without_token", private, "")
	subscribe("foreign_token", private, foreign(object{"sub": "bob-" + s.run, "channel": private}))

	ctx := context.Background()
	refused := func(what string, err error) { codes[what] = []uint32{code(err)} }
	_, err := bob.Publish(ctx, closed, number(0))
	refused("publish", err)
	_, err = bob.History(ctx, closed, centrifuge.WithHistoryLimit(1))
	refused("history", err)
	_, err = bob.Presence(ctx, closed)
	refused("presence", err)
	_, err = bob.PresenceStats(ctx, closed)
	refused("presence_stats", err)
	_, err = bob.RPC(ctx, "any", number(0))
	refused("rpc", err)
	return codes
}

// Twenty publications of its own, and what history has of them.
func (s *scenario) history(bob *connection) object {
	ctx, channel := context.Background(), s.channel("open", "history")
	sub := bob.subscribe(channel, centrifuge.SubscriptionConfig{})
	for n := int64(1); n <= 20; n++ {
		_, err := sub.Publish(ctx, number(n))
		check("publish", err)
	}
	s.call("publish", object{"channel": channel, "data": object{"n": 21}, "tags": object{"by": "backend"}})
	until("publications", func() bool { return sub.publications.len() == 21 })
	newest, err := sub.History(ctx, centrifuge.WithHistoryLimit(3), centrifuge.WithHistoryReverse(true))
	check("history", err)
	received := sub.publications.all()
	tenth := &centrifuge.StreamPosition{Offset: received[9].Offset, Epoch: newest.Epoch}
	since, err := bob.History(ctx, channel, centrifuge.WithHistoryLimit(100), centrifuge.WithHistorySince(tenth))
	check("history", err)
	top, err := bob.History(ctx, channel)
	check("history", err)
	offsets := make([]uint64, len(received))
	for at, publication := range received {
		offsets[at] = publication.Offset
	}
	user, _, _ := strings.Cut(received[0].Info.User, "-")
	return object{
		"received":  numbers(received),
		"offsets":   offsets,
		"publisher": []string{user, name(received[0].Info.ConnInfo)},
		"tags":      received[20].Tags,
		"newest":    numbers(newest.Publications),
		"since":     numbers(since.Publications),
		"top":       []any{len(top.Publications), top.Offset},
	}
}

// Who is there by name, how many are, and who comes and goes.
func (s *scenario) presence(bob *connection) object {
	channel := s.channel("open", "presence")
	ann := s.connection("ann").up()
	defer ann.Close()
	watching := ann.subscribe(channel, centrifuge.SubscriptionConfig{JoinLeave: true})
	until("join of its own", func() bool { return watching.changes.len() == 1 })
	coming := bob.subscribe(channel, centrifuge.SubscriptionConfig{})
	until("join", func() bool { return watching.changes.len() == 2 })
	seen := []object{present(watching)}
	check("unsubscribe", coming.Unsubscribe())
	until("leave", func() bool { return watching.changes.len() == 3 })
	seen = append(seen, present(watching))
	var changes [][]string
	for _, change := range watching.changes.all() {
		changes = append(changes, []string{change.what, name(change.info.ConnInfo)})
	}
	return object{"seen": seen, "changes": changes}
}

func present(sub *subscription) object {
	presence, err := sub.Presence(context.Background())
	check("presence", err)
	var names []string
	for _, info := range presence.Clients {
		names = append(names, name(info.ConnInfo))
	}
	slices.Sort(names)
	stats, err := sub.PresenceStats(context.Background())
	check("presence stats", err)
	return object{"names": names, "clients": stats.NumClients, "users": stats.NumUsers}
}

// Bytes that are no JSON, and what came of them.
func (s *scenario) binary(bob *connection) any {
	if !s.options.Protobuf {
		return nil
	}
	sub := bob.subscribe(s.channel("open", "binary"), centrifuge.SubscriptionConfig{})
	data := make([]byte, 256)
	for at := range data {
		data[at] = byte(at)
	}
	_, err := sub.Publish(context.Background(), data)
	check("publish", err)
	until("bytes", func() bool { return sub.publications.len() > 0 })
	return hex.EncodeToString(sub.publications.last().Data)
}

func number(n int64) []byte {
	return fmt.Appendf(nil, `{"n":%d}`, n)
}

func numbers(publications []centrifuge.Publication) []int64 {
	numbers := make([]int64, len(publications))
	for at, publication := range publications {
		var data struct {
			N int64 `json:"n"`
		}
		check("data", json.Unmarshal(publication.Data, &data))
		numbers[at] = data.N
	}
	return numbers
}

func name(info []byte) string {
	var data struct {
		Name string `json:"name"`
	}
	check("info", json.Unmarshal(info, &data))
	return data.Name
}
