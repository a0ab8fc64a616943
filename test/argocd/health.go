// SPDX-License-Identifier: Apache-2.0

// Package argocd runs the health script in config/argocd as Argo CD does (Argo CD,
// util/lua): with the object in the global variable obj.
package argocd

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// key is the key of Argo CD's configuration that contains the script.
const key = "resource.customizations.health.meshvm.io_MeshedVirtualMachine"

// Script returns the health script.
func Script() (string, error) {
	_, file, _, _ := runtime.Caller(0)
	text, err := os.ReadFile(filepath.Join(filepath.Dir(file), "..", "..", "config", "argocd", "argocd-cm.yaml"))
	if err != nil {
		return "", err
	}
	var patch struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(text, &patch); err != nil {
		return "", err
	}
	if patch.Data[key] == "" {
		return "", fmt.Errorf("config/argocd/argocd-cm.yaml has no %s", key)
	}
	return patch.Data[key], nil
}

// Health returns the status and the message that the script computes for an object.
func Health(o *unstructured.Unstructured) (status, message string, err error) {
	script, err := Script()
	if err != nil {
		return "", "", err
	}
	l := lua.NewState()
	defer l.Close()
	l.SetGlobal("obj", value(l, o.Object))
	if err := l.DoString(script); err != nil {
		return "", "", fmt.Errorf("run the health script: %w", err)
	}
	health, ok := l.Get(-1).(*lua.LTable)
	if !ok {
		return "", "", fmt.Errorf("the health script returned a %s", l.Get(-1).Type())
	}
	return health.RawGetString("status").String(), health.RawGetString("message").String(), nil
}

// value converts a value of an unstructured object.
func value(l *lua.LState, v any) lua.LValue {
	switch v := v.(type) {
	case map[string]any:
		t := l.NewTable()
		for k, e := range v {
			t.RawSetString(k, value(l, e))
		}
		return t
	case []any:
		t := l.NewTable()
		for _, e := range v {
			t.Append(value(l, e))
		}
		return t
	case string:
		return lua.LString(v)
	case bool:
		return lua.LBool(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	default:
		return lua.LNil
	}
}
