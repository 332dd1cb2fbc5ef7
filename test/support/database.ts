import {randomUUID} from 'node:crypto'
import {Client} from 'pg'
import {inject} from 'vitest'

/** A fresh, empty database in the run's PostgreSQL. It goes with the run. */
export const createDatabase = async (): Promise<string> => {
  const name = `test_${randomUUID().replaceAll('-', '')}`
  const client = new Client({connectionString: inject('postgresUrl')})
  await client.connect()
  try {
    await client.query(`CREATE DATABASE ${name} TEMPLATE template0`)
  } finally {
    await client.end()
  }
  return inject('postgresUrl').replace(/\/[^/?]*(\?|$)/, `/${name}$1`)
}
