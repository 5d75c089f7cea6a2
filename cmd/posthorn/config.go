package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"

	"posthorn/internal/secret"
)

// config is the whole configuration. A key is the path of the fields' tags.
type config struct {
	Component struct {
		Domain     string        `mapstructure:"domain"`
		Secret     secret.Value  `mapstructure:"secret"`
		SecretFile string        `mapstructure:"secret_file"`
		Address    string        `mapstructure:"address"`
		Mode       string        `mapstructure:"mode"`
		MaxStanza  bytesize      `mapstructure:"max_stanza"`
		RoomIdle   time.Duration `mapstructure:"room_idle"`
	} `mapstructure:"component"`
	HTTP struct {
		Listen      []string `mapstructure:"listen"`
		Path        string   `mapstructure:"path"`
		MaxBody     bytesize `mapstructure:"max_body"`
		MaxFile     bytesize `mapstructure:"max_attachment"`
		CORSOrigins []string `mapstructure:"cors_origins"`
		Proxies     []string `mapstructure:"trusted_proxies"`
		TLS         struct {
			CertFile string `mapstructure:"cert_file"`
			KeyFile  string `mapstructure:"key_file"`
		} `mapstructure:"tls"`
	} `mapstructure:"http"`
	Auth struct {
		Hosts         []hostConfig `mapstructure:"hosts"`
		DefaultDomain string       `mapstructure:"default_domain"`
		Cache         struct {
			TTL      time.Duration `mapstructure:"ttl"`
			StaleTTL time.Duration `mapstructure:"stale_ttl"`
			Size     int           `mapstructure:"size"`
		} `mapstructure:"cache"`
		Throttle struct {
			Failures int           `mapstructure:"failures"`
			Window   time.Duration `mapstructure:"window"`
		} `mapstructure:"throttle"`
	} `mapstructure:"auth"`
	Limits struct {
		MessagesPerSecond int `mapstructure:"messages_per_second"`
		Burst             int `mapstructure:"burst"`
	} `mapstructure:"limits"`
	Policy struct {
		Senders    []string `mapstructure:"senders"`
		Recipients string   `mapstructure:"recipients"`
	} `mapstructure:"policy"`
	Delivery struct {
		ConfirmTimeout time.Duration `mapstructure:"confirm_timeout"`
		Keep           time.Duration `mapstructure:"keep"`
		MaxKept        bytesize      `mapstructure:"max_kept"`
		Remember       time.Duration `mapstructure:"remember"`
	} `mapstructure:"delivery"`
	Hooks struct {
		Dir string `mapstructure:"dir"`
	} `mapstructure:"hooks"`
	Store     secret.Value `mapstructure:"store"` // a URL may hold a password
	StoreFile string       `mapstructure:"store_file"`
	Metrics   struct {
		Listen string `mapstructure:"listen"`
	} `mapstructure:"metrics"`
	Log struct {
		Level  string `mapstructure:"level"`
		Format string `mapstructure:"format"`
	} `mapstructure:"log"`

	database         // the key store
	proxies  proxies // http.trusted_proxies
}

// hostConfig is one entry of auth.hosts.
type hostConfig struct {
	Domain     string `mapstructure:"domain"`
	Address    string `mapstructure:"address"`
	TLS        string `mapstructure:"tls"`
	CAFile     string `mapstructure:"ca_file"`
	ServerName string `mapstructure:"server_name"`
}

// bytesize is a number of bytes, written as 65536, 64KiB, 1MiB or 1GiB.
type bytesize int64

// defaults are the values of every key that may be left out.
var defaults = map[string]any{
	"component.domain": "", "component.secret": "", "component.secret_file": "",
	"component.address": "127.0.0.1:5347", "component.mode": "auto", "component.max_stanza": 262144, "component.room_idle": "10m",
	"http.listen": []string{"127.0.0.1:5288"}, "http.path": "/msg", "http.max_body": 65536, "http.max_attachment": "10MiB",
	"http.cors_origins": []string{}, "http.trusted_proxies": []string{}, "http.tls.cert_file": "", "http.tls.key_file": "",
	"auth.hosts": []any{}, "auth.default_domain": "", "auth.cache.ttl": "5m", "auth.cache.stale_ttl": "1h", "auth.cache.size": 10000,
	"auth.throttle.failures": 10, "auth.throttle.window": "5m",
	"limits.messages_per_second": 50, "limits.burst": 500,
	"policy.senders": []string{}, "policy.recipients": "any",
	"delivery.confirm_timeout": "5s", "delivery.keep": "72h", "delivery.max_kept": "1GiB", "delivery.remember": "24h",
	"hooks.dir": "", "store": defaultStore, "store_file": "",
	"metrics.listen": "127.0.0.1:9288", "log.level": "info", "log.format": "text",
}

// loadConfig reads the file (or, where file is empty, the one that is found)
// and the environment. The error has a line for each mistake.
func loadConfig(file string, getenv func(string) string) (c config, used string, err error) {
	v := viper.NewWithOptions()
	for key, value := range defaults {
		v.SetDefault(key, value)
	}
	v.SetEnvPrefix("POSTHORN")
	v.SetEnvKeyReplacer(strings.NewReplacer(".", "_"))
	v.AutomaticEnv()
	v.AllowEmptyEnv(true) // POSTHORN_METRICS_LISTEN= turns the metrics off
	if err := readFile(v, file); err != nil {
		return c, "", err
	}
	var found mistakes
	decode(v, &c, &found)
	c.readSecrets(getenv, &found)
	c.findStore(getenv, &found)
	c.validate(&found)
	return c, v.ConfigFileUsed(), found.err()
}

// mistakes are what is wrong with a configuration, one line a key: a value
// that could not be read is not blamed again for being missing.
type mistakes map[string]string

func (m mistakes) err() error {
	var lines []error
	for _, key := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, errors.New(key+": "+m[key]))
	}
	return errors.Join(lines...)
}

func (m *mistakes) add(key, format string, args ...any) {
	if *m == nil {
		*m = make(mistakes)
	}
	if _, known := (*m)[key]; !known {
		(*m)[key] = strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
	}
}

func readFile(v *viper.Viper, file string) error {
	if file == "" {
		v.SetConfigName("posthorn")
		v.AddConfigPath(".")
		v.AddConfigPath("/etc/posthorn")
	} else {
		v.SetConfigFile(file)
		if !slices.Contains(viper.SupportedExts, strings.TrimPrefix(filepath.Ext(file), ".")) {
			v.SetConfigType("yaml")
		}
	}
	err := v.ReadInConfig()
	if errors.As(err, new(viper.ConfigFileNotFoundError)) {
		return nil // the environment may say it all
	}
	var notThere *fs.PathError
	if errors.As(err, &notThere) {
		return fmt.Errorf("--config: %w", err)
	}
	return err
}

// decode turns what viper collected into a config.
func decode(v *viper.Viper, c *config, found *mistakes) {
	var seen mapstructure.Metadata
	err := v.Unmarshal(c, func(d *mapstructure.DecoderConfig) {
		d.Metadata = &seen
		d.DecodeHook = mapstructure.ComposeDecodeHookFunc(
			readHost, readSecret, readBytes, readDuration,
			mapstructure.StringToWeakSliceHookFunc(","),
		)
	})
	addAll(err, found)
	for _, key := range v.AllKeys() {
		if _, known := defaults[key]; !known {
			found.add(key, "there is no such key")
		}
	}
	for _, key := range seen.Unused { // within lists, which viper does not look into
		if strings.Contains(key, "[") {
			found.add(key, "there is no such key")
		}
	}
}

// addAll takes apart the mistakes that mapstructure joins, each of which
// begins with its key in quotes.
func addAll(err error, found *mistakes) {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		for _, e := range joined.Unwrap() {
			addAll(e, found)
		}
	} else if err != nil {
		key, text, _ := strings.Cut(strings.TrimPrefix(err.Error(), "'"), "'")
		found.add(key, "%s", text)
	}
}

// readHost lets auth.hosts hold plain domains, as the environment must.
func readHost(from, to reflect.Type, value any) (any, error) {
	if to != reflect.TypeFor[hostConfig]() || from.Kind() != reflect.String {
		return value, nil
	}
	return map[string]any{"domain": value}, nil
}

func readSecret(_, to reflect.Type, value any) (any, error) {
	if to != reflect.TypeFor[secret.Value]() {
		return value, nil
	}
	switch value := value.(type) {
	case string:
		return secret.New(value), nil
	case int: // YAML takes an unquoted 12345 for a number
		return secret.New(strconv.Itoa(value)), nil
	}
	return nil, errors.New("has to be a string: put it in quotes")
}

func readBytes(from, to reflect.Type, value any) (any, error) {
	if to != reflect.TypeFor[bytesize]() || from.Kind() != reflect.String {
		return value, nil
	}
	number, factor := value.(string), int64(1)
	for unit, f := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if rest, found := strings.CutSuffix(number, unit); found {
			number, factor = strings.TrimSpace(rest), f
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n > math.MaxInt64/factor {
		return nil, errors.New("has to be a number of bytes, such as 65536 or 64KiB")
	}
	return bytesize(n * factor), nil
}

func readDuration(_, to reflect.Type, value any) (any, error) {
	if to != reflect.TypeFor[time.Duration]() {
		return value, nil
	}
	text := fmt.Sprint(value)
	d, err := time.ParseDuration(text)
	if err != nil {
		return nil, fmt.Errorf("is %q and has to be a duration, such as 90s, 5m or 72h", text)
	}
	return d, nil
}

// readSecrets takes the secrets that stand in files of their own, or that systemd hands
// on (systemd.exec(5), LoadCredential=).
func (c *config) readSecrets(getenv func(string) string, found *mistakes) {
	credentials := getenv("CREDENTIALS_DIRECTORY")
	file := c.Component.SecretFile
	if file == "" && c.Component.Secret.Empty() && credentials != "" {
		file = filepath.Join(credentials, "component_secret")
	}
	if file != "" {
		readSecretFile("component.secret", file, &c.Component.Secret, found)
	}
	c.readStoreFile(credentials, found)
}

// readStoreFile reads the key store where a file holds it.
func (c *config) readStoreFile(credentials string, found *mistakes) {
	unsaid, file := c.Store.Reveal() == defaultStore, c.StoreFile
	if handed := filepath.Join(credentials, "store"); file == "" && unsaid && credentials != "" && exists(handed) {
		file = handed
	}
	if file == "" {
		return
	}
	if unsaid {
		c.Store = secret.Value{}
	}
	if readSecretFile("store", file, &c.Store, found); c.Store.Empty() {
		found.add("store", "%s is empty", file) // which is no wish to keep nothing
	}
}

// readSecretFile reads the secret of a key that has none yet.
func readSecretFile(key, file string, value *secret.Value, found *mistakes) {
	if !value.Empty() {
		found.add(key+"_file", "stands beside %s: keep one of them", key)
		return
	}
	text, err := os.ReadFile(file) // #nosec G304 -- who runs posthorn names it
	if err != nil {
		found.add(key, "%v", err)
		return
	}
	*value = secret.New(strings.TrimRight(string(text), "\r\n"))
	clear(text) // the copy that Value holds is the only one
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
