//go:build linux

package suite

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine describes what the figures were measured on, in one line.
func Machine() string {
	parts := []string{fmt.Sprintf("%s, %d CPUs", processor(), runtime.NumCPU())}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		bytes := uint64(info.Totalram) * uint64(info.Unit)
		parts = append(parts, fmt.Sprintf("%d GiB", (bytes+1<<29)>>30))
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		release, _, _ := strings.Cut(unix.ByteSliceToString(name.Release[:]), "-")
		parts = append(parts, "Linux "+release+" "+runtime.GOARCH)
	}
	return strings.Join(parts, ", ")
}

func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				return strings.TrimSpace(value)
			}
		}
	}
	return "unknown processor"
}

// Versions lists the versions of all that was measured.
func Versions(folder string, entries []Entry) []string {
	list := []string{"Go " + strings.TrimPrefix(runtime.Version(), "go")}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			for _, peer := range []string{"gorilla/websocket", "lxzan/gws", "olahol/melody"} {
				if strings.HasSuffix(module.Path, peer) {
					list = append(list, peer+" "+module.Version)
				}
			}
		}
	}
	for _, entry := range entries {
		switch entry.Name {
		case Hubbub:
			list = append(list, "hubbub "+commit(filepath.Dir(folder)))
		case "node-ws":
			list = append(list, "ws "+packageVersion(folder, "ws"), "Node "+output(folder, "node", "--version"))
		case "socketio":
			list = append(list, "socket.io "+packageVersion(folder, "socket.io"))
		}
	}
	return list
}

func commit(root string) string {
	revision := output(root, "git", "rev-parse", "--short=12", "HEAD")
	if output(root, "git", "status", "--porcelain", "--untracked-files=no") != "" {
		revision += " with changes"
	}
	return revision
}

func packageVersion(folder, name string) string {
	var about struct{ Version string }
	text, err := os.ReadFile(filepath.Join(folder, "node", "node_modules", name, "package.json"))
	if err != nil || json.Unmarshal(text, &about) != nil {
		return "of unknown version"
	}
	return about.Version
}

// output is what a tool prints, or "unknown" if it is not there or fails.
func output(folder, name string, args ...string) string {
	command := exec.Command(name, args...)
	command.Dir = folder
	text, err := command.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}
