"""The guided tour: four hospitals, 920 real patients, one model, and everything checked at the end."""
