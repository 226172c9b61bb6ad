// Writes an ExportProfilesServiceRequest to stdout as the official Go library encodes it:
//
//	main protobuf|json START_UNIX_NANO
//
// One process that is named by its resource, with samples on a CPU, time off it, and bytes that a
// collector of samples has no use for; one that only its executable names. It builds with releases
// of the library from before and after attributes came to be named by index (go.mod, old.mod).
package main

import (
	"fmt"
	"os"
	"strconv"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pprofile"
	"go.opentelemetry.io/collector/pdata/pprofile/pprofileotlp"
)

type builder struct {
	dic     pprofile.ProfilesDictionary
	strings map[string]int32
	start   int64
}

func (b *builder) text(s string) int32 {
	if i, ok := b.strings[s]; ok {
		return i
	}
	i := int32(b.dic.StringTable().Len())
	b.dic.StringTable().Append(s)
	b.strings[s] = i
	return i
}

func (b *builder) attribute(key, value string) int32 {
	a := b.dic.AttributeTable().AppendEmpty()
	a.SetKeyStrindex(b.text(key))
	a.Value().SetStr(value)
	return int32(b.dic.AttributeTable().Len() - 1)
}

// One frame; without a name it is an address in a mapping.
func (b *builder) location(kind, name, file string, line int64) int32 {
	l := b.dic.LocationTable().AppendEmpty()
	l.AttributeIndices().Append(b.attribute("profile.frame.type", kind))
	if kind == "native" {
		m := b.dic.MappingTable().AppendEmpty()
		m.SetFilenameStrindex(b.text(file))
		l.SetMappingIndex(int32(b.dic.MappingTable().Len() - 1))
		l.SetAddress(0x4abc)
	} else {
		f := b.dic.FunctionTable().AppendEmpty()
		f.SetNameStrindex(b.text(name))
		f.SetFilenameStrindex(b.text(file))
		x := l.Lines().AppendEmpty()
		x.SetFunctionIndex(int32(b.dic.FunctionTable().Len() - 1))
		x.SetLine(line)
	}
	return int32(b.dic.LocationTable().Len() - 1)
}

func (b *builder) stack(locations ...int32) int32 {
	s := b.dic.StackTable().AppendEmpty()
	s.LocationIndices().Append(locations...)
	return int32(b.dic.StackTable().Len() - 1)
}

func (b *builder) profile(to pprofile.ScopeProfiles, id byte, kind, unit string) pprofile.Profile {
	p := to.Profiles().AppendEmpty()
	p.SetProfileID(pprofile.ProfileID{id, 0xc0, 0xff, 0xee, 4: 0xab, 15: id})
	p.SetTime(pcommon.Timestamp(b.start))
	switch d := any(p).(type) {
	case interface{ SetDurationNano(uint64) }:
		d.SetDurationNano(5_000_000_000)
	case interface{ SetDuration(pcommon.Timestamp) }:
		d.SetDuration(5_000_000_000)
	}
	p.SampleType().SetTypeStrindex(b.text(kind))
	p.SampleType().SetUnitStrindex(b.text(unit))
	if kind == "samples" {
		p.PeriodType().SetTypeStrindex(b.text("cpu"))
		p.PeriodType().SetUnitStrindex(b.text("nanoseconds"))
		p.SetPeriod(50_000_000)
	}
	return p
}

func (b *builder) sample(p pprofile.Profile, stack int32, value int64) {
	s := p.Samples().AppendEmpty()
	s.SetStackIndex(stack)
	s.Values().Append(value)
	s.AttributeIndices().Append(b.attribute("thread.name", "worker"))
}

func build(start int64) pprofile.Profiles {
	data := pprofile.NewProfiles()
	b := &builder{data.Dictionary(), map[string]int32{}, start}
	b.text("")
	b.dic.MappingTable().AppendEmpty()
	b.dic.LocationTable().AppendEmpty()
	b.dic.FunctionTable().AppendEmpty()
	b.dic.LinkTable().AppendEmpty()
	b.dic.AttributeTable().AppendEmpty()
	b.dic.StackTable().AppendEmpty()

	main := b.location("cpython", "main", "/app/main.py", 3)
	hot := b.location("cpython", "hot", "/app/work.py", 20)
	lib := b.location("native", "", "libssl.so.3", 0)
	read := b.location("kernel", "vfs_read", "", 0)

	named := data.ResourceProfiles().AppendEmpty()
	attributes := named.Resource().Attributes()
	attributes.PutStr("service.name", "checkout")
	attributes.PutStr("k8s.pod.name", "checkout-7d9")
	attributes.PutStr("host.name", "node-7")
	attributes.PutInt("process.pid", 4321)
	attributes.PutEmptySlice("process.command_args").AppendEmpty().SetStr("python3")
	scope := named.ScopeProfiles().AppendEmpty()
	scope.Scope().SetName("generator")
	scope.Scope().Attributes().PutStr("team", "shop")
	cpu := b.profile(scope, 1, "samples", "count")
	b.sample(cpu, b.stack(hot, main), 7)
	b.sample(cpu, b.stack(lib, main), 2)
	b.sample(cpu, b.stack(read, main), 1)
	off := b.profile(scope, 2, "off_cpu", "nanoseconds")
	b.sample(off, b.stack(read, hot, main), 30_000_000)
	alloc := b.profile(scope, 3, "alloc_space", "bytes")
	b.sample(alloc, b.stack(hot, main), 1<<20)

	unnamed := data.ResourceProfiles().AppendEmpty()
	attributes = unnamed.Resource().Attributes()
	attributes.PutStr("process.executable.name", "nginx")
	attributes.PutStr("host.name", "node-7")
	attributes.PutInt("process.pid", 99)
	cpu = b.profile(unnamed.ScopeProfiles().AppendEmpty(), 4, "samples", "count")
	b.sample(cpu, b.stack(lib), 5)
	return data
}

func run() error {
	if len(os.Args) != 3 {
		return fmt.Errorf("usage: main protobuf|json START_UNIX_NANO")
	}
	start, err := strconv.ParseInt(os.Args[2], 10, 64)
	if err != nil {
		return err
	}
	request := pprofileotlp.NewExportRequestFromProfiles(build(start))
	marshal := request.MarshalProto
	if os.Args[1] == "json" {
		marshal = request.MarshalJSON
	}
	body, err := marshal()
	if err == nil {
		_, err = os.Stdout.Write(body)
	}
	return err
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
