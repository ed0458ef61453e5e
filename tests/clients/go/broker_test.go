// Package clienttests drives the broker named by AMQP_URL with RabbitMQ's own Go client, unchanged.
package clienttests

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const patience = 20 * time.Second

var numbers atomic.Int64

// unique makes a name nobody else uses.
func unique(kind string) string {
	return fmt.Sprintf("%s-%d-%d-%d", kind, os.Getpid(), time.Now().UnixNano(), numbers.Add(1))
}

// connect opens a connection that ends with the test.
func connect(t *testing.T) *amqp.Connection {
	t.Helper()
	connection, err := amqp.Dial(os.Getenv("AMQP_URL"))
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

// open opens a channel on a connection of its own.
func open(t *testing.T) *amqp.Channel {
	t.Helper()
	channel, err := connect(t).Channel()
	if err != nil {
		t.Fatalf("channel: %v", err)
	}
	return channel
}

// declare makes an exclusive queue.
func declare(t *testing.T, channel *amqp.Channel, arguments amqp.Table) string {
	t.Helper()
	queue, err := channel.QueueDeclare(unique("go"), false, false, true, false, arguments)
	if err != nil {
		t.Fatalf("declare: %v", err)
	}
	return queue.Name
}

// next takes one value from a channel of Go, or fails after a while.
func next[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case value, ok := <-from:
		if !ok {
			t.Fatalf("closed instead of %s", what)
		}
		return value
	case <-time.After(patience):
		t.Fatalf("no %s within %v", what, patience)
	}
	panic("not reached")
}

// want compares.
func want[T comparable](t *testing.T, got, expected T, what string) {
	t.Helper()
	if got != expected {
		t.Fatalf("%s: got %v, expected %v", what, got, expected)
	}
}
