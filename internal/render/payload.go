package render

import (
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
)

// ParseJSON reads one JSON value. Objects become map[string]any and arrays []any;
// numbers int64 where they are whole and small enough, and else decimal. A member that
// is null is not there, as for whoever reads it.
func ParseJSON(text string) (any, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something stands behind its end")
	}
	return normal(value), nil
}

// normal gives a value its form for templates. The decoder has bounded its depth.
func normal(value any) any {
	switch value := value.(type) {
	case nil:
		return ""
	case json.Number:
		return number(value)
	case map[string]any:
		for name, member := range value {
			if member == nil {
				delete(value, name)
			} else {
				value[name] = normal(member)
			}
		}
	case []any:
		for i, item := range value {
			value[i] = normal(item)
		}
	}
	return value
}

func number(n json.Number) any {
	if whole, err := n.Int64(); err == nil {
		return whole
	}
	f, err := n.Float64()
	if err != nil {
		return n.String() // 1e999: as it was written
	}
	return decimal(f)
}

// A decimal is a number that prints as people write it: 1500000.5, not 1.5000005e+06.
type decimal float64

func (d decimal) String() string {
	if f := float64(d); f > 1e15 || f < -1e15 {
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	return strconv.FormatFloat(float64(d), 'f', -1, 64)
}
