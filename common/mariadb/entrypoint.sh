#!/bin/sh
# Required: MARIADB_ROOT_PASSWORD.
# Optional: MARIADB_DATABASES, a list of DATABASE[:USER] (the user is by default the database's name). The password of
# user nova is NOVA_DATABASE_PASSWORD, or else DATABASE_PASSWORD. Databases, users and passwords are put right at every
# start, so a new service needs one more word here and a restart.
. /usr/local/lib/ocbuild/entrypoint-lib.sh

# As the inside of an SQL string.
escaped() {
    printf %s "$1" | sed "s/[\\\\']/\\\\&/g"
}

# allow USER PASSWORD PRIVILEGES [OPTION]: one statement per line, for mariadbd stops reading its init file at any other break.
allow() {
    printf "CREATE USER IF NOT EXISTS '%s'@'%%';\n" "$1"
    printf "ALTER USER '%s'@'%%' IDENTIFIED BY '%s';\n" "$1" "$(escaped "$2")"
    printf "GRANT %s TO '%s'@'%%'%s;\n" "$3" "$1" "${4:-}"
}

databases() {
    for entry in ${MARIADB_DATABASES:-}; do
        database=${entry%:*}
        user=${entry#*:}
        variable=$(printf %s "$user" | tr '[:lower:]-' '[:upper:]_')_DATABASE_PASSWORD
        given "$variable" || variable=DATABASE_PASSWORD
        require "$variable"
        password=
        eval "password=\$$variable"
        printf "CREATE DATABASE IF NOT EXISTS \`%s\`;\n" "$database"
        allow "$user" "$password" "ALL ON \`$database\`.*"
    done
}

if [ "${1:-}" = mariadbd ]; then
    require MARIADB_ROOT_PASSWORD
    writable /var/lib/mysql /run/mysqld

    # Before the data directory is made: what is missing is said at once, and alone.
    (
        umask 077
        exec > /run/mysqld/init.sql
        allow root "$MARIADB_ROOT_PASSWORD" 'ALL ON *.*' ' WITH GRANT OPTION'
        databases
    ) || exit
    if [ ! -d /var/lib/mysql/mysql ]; then
        mariadb-install-db --skip-test-db --auth-root-socket-user=mysql > /dev/null
    fi
    set -- "$@" --init-file=/run/mysqld/init.sql
fi

exec "$@"
