"""endpoints.toml as files for other platforms: containers on one box, Amazon ECS. All pure but for reading the file."""
