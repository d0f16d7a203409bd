module github.com/hubbub-go/hubbub/js

go 1.26.0
