package store

import (
	"context"

	"posthorn/internal/message"
)

// Claim and StopWaiting stand in until the store can be shared.
func (s *Store) Claim(ctx context.Context, _ int64, q message.Query) ([]message.Record, bool, error) {
	records, err := s.Select(ctx, q)
	return records, len(records) == q.Limit, err
}

func (s *Store) StopWaiting(ctx context.Context, seqs []int64) ([]message.Record, error) {
	return s.Select(ctx, message.Query{Seqs: seqs})
}
