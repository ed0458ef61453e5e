package clienttests

import (
	"context"
	"errors"
	"net/url"
	"os"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestAWrongPasswordIsRefused(t *testing.T) {
	address, err := url.Parse(os.Getenv("AMQP_URL"))
	if err != nil {
		t.Fatal(err)
	}
	address.User = url.UserPassword("guest", "wrong")
	_, err = amqp.Dial(address.String())
	var refusal *amqp.Error
	if !errors.As(err, &refusal) || refusal.Code != amqp.AccessRefused {
		t.Fatalf("got %v", err)
	}
}

func TestAMissingVhostIsRefused(t *testing.T) {
	address, err := url.Parse(os.Getenv("AMQP_URL"))
	if err != nil {
		t.Fatal(err)
	}
	address.Path, address.RawPath = "/no-such-vhost", ""
	// The client's own word for a close while it waits for open-ok.
	if _, err = amqp.Dial(address.String()); !errors.Is(err, amqp.ErrVhost) {
		t.Fatalf("got %v", err)
	}
}

func TestARefusalClosesItsChannelWithACodeAndNothingElse(t *testing.T) {
	connection := connect(t)
	channel, err := connection.Channel()
	if err != nil {
		t.Fatal(err)
	}
	closed := channel.NotifyClose(make(chan *amqp.Error, 1))
	if _, err := channel.QueueDeclarePassive(unique("missing"), false, false, false, false, nil); err == nil {
		t.Fatal("a missing queue was found")
	}
	want(t, next(t, closed, "close").Code, amqp.NotFound, "code")
	channel, err = connection.Channel()
	if err != nil {
		t.Fatal(err)
	}
	declare(t, channel, nil)
}

func TestPublishingToAMissingExchangeClosesTheChannel(t *testing.T) {
	channel := open(t)
	closed := channel.NotifyClose(make(chan *amqp.Error, 1))
	_ = channel.PublishWithContext(context.Background(), unique("missing"), "key", false, false, amqp.Publishing{Body: []byte("x")})
	want(t, next(t, closed, "close").Code, amqp.NotFound, "code")
}

func TestAnUnknownDeliveryTagClosesTheChannel(t *testing.T) {
	channel := open(t)
	closed := channel.NotifyClose(make(chan *amqp.Error, 1))
	_ = channel.Ack(42, false)
	want(t, next(t, closed, "close").Code, amqp.PreconditionFailed, "code")
}

func TestAnotherDeclarationIsRefused(t *testing.T) {
	channel := open(t)
	queue := declare(t, channel, nil)
	_, err := channel.QueueDeclare(queue, false, false, true, false, amqp.Table{"x-max-length": int32(1)})
	var refusal *amqp.Error
	if !errors.As(err, &refusal) || refusal.Code != amqp.PreconditionFailed {
		t.Fatalf("got %v", err)
	}
}

func TestAConsumerIsToldWhenItsQueueIsDeleted(t *testing.T) {
	channel, other := open(t), open(t)
	queue, err := channel.QueueDeclare(unique("go"), false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	cancelled := channel.NotifyCancel(make(chan string, 1))
	deliveries, err := channel.Consume(queue.Name, "the-tag", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.QueueDelete(queue.Name, false, false, false); err != nil {
		t.Fatal(err)
	}
	want(t, next(t, cancelled, "cancel"), "the-tag", "tag")
	if _, open := <-deliveries; open {
		t.Fatal("a delivery instead of the end")
	}
}

func TestManyChannelsOpenAndClose(t *testing.T) {
	connection := connect(t)
	for range 10 {
		var channels []*amqp.Channel
		for range 100 {
			channel, err := connection.Channel()
			if err != nil {
				t.Fatal(err)
			}
			channels = append(channels, channel)
		}
		for _, channel := range channels {
			if err := channel.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
